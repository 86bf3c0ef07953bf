------------------------------------------------ MODULE Tidegate ------------------------------------------------
(* The protocol between risk, the log, the gate, two executors, the network and the exchange.                      *)
(*                                                                                                                 *)
(* What is atomic here is atomic there: a commit (one Lua call) of risk, a commit of an executor, the sending of a  *)
(* packet, its arrival, a trade. Everything between may be interleaved, lost, late, or left by a crash: an executor *)
(* that is never scheduled again has crashed, one that is scheduled after a takeover is a zombie.                   *)
(* The exchange of this model is weaker than Bybit: it accepts the same order twice when it comes twice.            *)
(* Each guard of the implementation is a member of Guards; a mutant is the model without one.                       *)
EXTENDS Integers, Sequences, FiniteSets

CONSTANTS Entries, Exits, Forged, L, MaxSize, MaxHalts, MaxTakeovers, MaxAdl, MaxReplays, Guards

Ids == Entries \cup Exits \cup Forged
Executors == {1, 2}
Operators == {"alice", "bob"}
Has(guard) == guard \in Guards
Max(a, b) == IF a > b THEN a ELSE b
Min(a, b) == IF a < b THEN a ELSE b
Abs(a) == IF a < 0 THEN -a ELSE a

VARIABLES
  log,      \* order-intent and halt: what risk committed, in the order of its commits
  gate,     \* the flag in the bus: "open" or "closed"
  risk,     \* risk's committed state: mode, halt (number of the last), pos, open, filled
  signed,   \* resumes that operators have signed: <<halt number, operator>>
  order,    \* the approval under each id: [side, size], size 0 while there is none
  old,      \* ids whose approval has expired
  out,      \* order, fill and account: what executors committed. queue: what risk has not read yet; ver: the version of
            \* execution's state; fills, told, adl: what was said so far; fine: no entry was submitted in a halt
  db,       \* the rest of execution's committed state: epoch, cur (cursor in log), used
  ex,       \* each executor's own copy: epoch, ver, cur, used, and due, what it has committed and not yet sent
  net,      \* packets on their way, by id
  venue     \* the truth: pos, accepted, rest, done, ended by id; adl made

vars == <<log, gate, risk, signed, order, old, out, db, ex, net, venue>>

None == [id \in Ids |-> 0]

Init ==
  /\ log = <<>> /\ gate = "open" /\ signed = {} /\ old = {}
  /\ out = [queue |-> <<>>, ver |-> 0, fills |-> None, told |-> {}, adl |-> 0, fine |-> TRUE]
  /\ risk = [mode |-> "NORMAL", halt |-> 0, pos |-> 0, open |-> None, filled |-> None]
  /\ order = [id \in Ids |-> [side |-> 1, size |-> 0]]
  /\ db = [epoch |-> 0, cur |-> 0, used |-> {}]
  /\ ex = [e \in Executors |-> [epoch |-> 0, ver |-> 0, cur |-> 0, used |-> {}, due |-> {}]]
  /\ net = None
  /\ venue = [pos |-> 0, accepted |-> None, rest |-> None, done |-> None, ended |-> {}, adl |-> 0]

\* ---- sums -------------------------------------------------------------------------------------------------------
RECURSIVE Sum(_, _)
Sum(f, set) == IF set = {} THEN 0 ELSE LET x == CHOOSE x \in set : TRUE IN f[x] + Sum(f, set \ {x})

Open(side) == Sum(risk.open, {id \in Entries : order[id].side = side})
Used(side) == (IF Has("sided rule") THEN Max(side * risk.pos, 0) ELSE side * risk.pos) + Open(side)

LastHalt(l) == LET at == {i \in 1..Len(l) : l[i].kind \in {"halt", "resume"}}
               IN IF at = {} THEN "none" ELSE l[CHOOSE i \in at : \A j \in at : j <= i].kind
IsHalted(l) == LastHalt(l) = "halt"

\* ---- risk -------------------------------------------------------------------------------------------------------
Record(kind, id) == [kind |-> kind, id |-> id, fine |-> TRUE]

ApproveEntry(id, side, size) ==
  /\ id \in Entries /\ order[id].size = 0
  /\ Has("mode") => risk.mode = "NORMAL"
  /\ Used(side) + size <= L
  /\ order' = [order EXCEPT ![id] = [side |-> side, size |-> size]]
  /\ risk' = [risk EXCEPT !.open[id] = size]
  /\ log' = Append(log, [Record("entry", id) EXCEPT !.fine = ~IsHalted(log)])
  /\ UNCHANGED <<gate, signed, old, out, db, ex, net, venue>>

ApproveExit(id) ==
  LET side == IF risk.pos > 0 THEN -1 ELSE 1
      size == Abs(risk.pos) - Sum(risk.open, {x \in Exits : order[x].side = side})
  IN /\ id \in Exits /\ order[id].size = 0 /\ size > 0
     /\ order' = [order EXCEPT ![id] = [side |-> side, size |-> size]]
     /\ risk' = [risk EXCEPT !.open[id] = size]
     /\ log' = Append(log, Record("exit", id))
     /\ UNCHANGED <<gate, signed, old, out, db, ex, net, venue>>

\* Somebody who is not risk puts an order into the log: its seal is not risk's.
Forge(id) ==
  /\ id \in Forged /\ order[id].size = 0
  /\ order' = [order EXCEPT ![id] = [side |-> 1, size |-> 1]]
  /\ log' = Append(log, Record("forged", id))
  /\ UNCHANGED <<gate, risk, signed, old, out, db, ex, net, venue>>

\* A genuine approval comes a second time.
Replay(id) ==
  /\ id \in Entries /\ order[id].size > 0
  /\ Cardinality({i \in 1..Len(log) : log[i].kind = "again"}) < MaxReplays
  /\ log' = Append(log, Record("again", id))
  /\ UNCHANGED <<gate, risk, signed, order, old, out, db, ex, net, venue>>

Halt ==
  /\ risk.halt < MaxHalts
  /\ risk' = [risk EXCEPT !.mode = "HALTED", !.halt = @ + 1]
  /\ log' = Append(log, Record("halt", 0))
  /\ gate' = IF Has("gate in the halt's commit") THEN "closed" ELSE gate
  /\ UNCHANGED <<signed, order, old, out, db, ex, net, venue>>

Sign(halt, who) ==
  /\ halt <= risk.halt /\ signed' = signed \cup {<<halt, who>>}
  /\ UNCHANGED <<log, gate, risk, order, old, out, db, ex, net, venue>>

Resume(halt) ==
  /\ risk.mode = "HALTED"
  /\ Has("resume names the halt") => halt = risk.halt
  /\ IF Has("two operators") THEN \A who \in Operators : <<halt, who>> \in signed ELSE \E who \in Operators : <<halt, who>> \in signed
  /\ risk' = [risk EXCEPT !.mode = "NORMAL"]
  /\ gate' = "open"
  /\ log' = Append(log, [Record("resume", 0) EXCEPT !.fine = \A who \in Operators : <<risk.halt, who>> \in signed])
  /\ UNCHANGED <<signed, order, old, out, db, ex, net, venue>>

\* A process that forgets its mode: only in the mutant, for a shipped one comes back as it was committed.
Restart ==
  /\ ~Has("mode survives a restart") /\ risk.mode # "NORMAL"
  /\ risk' = [risk EXCEPT !.mode = "NORMAL"]
  /\ UNCHANGED <<log, gate, signed, order, old, out, db, ex, net, venue>>

\* The next of execution's events. What traded stays reserved until its fills have come.
Learn ==
  /\ out.queue # <<>>
  /\ LET next == Head(out.queue)
         id == next.id
         left == IF Has("fills keep their reservation") THEN Max(Min(risk.open[id], next.traded - risk.filled[id]), 0) ELSE 0
     IN risk' = CASE next.kind = "fill" -> [risk EXCEPT !.filled[id] = @ + 1, !.pos = @ + order[id].side, !.open[id] = Max(@ - 1, 0)]
                  [] next.kind = "end" -> [risk EXCEPT !.open[id] = left]
                  [] next.kind = "adl" -> [risk EXCEPT !.pos = IF @ > 0 THEN @ - 1 ELSE @ + 1]
  /\ out' = [out EXCEPT !.queue = Tail(@)]
  /\ UNCHANGED <<log, gate, signed, order, old, db, ex, net, venue>>

\* ---- executors --------------------------------------------------------------------------------------------------
\* What every commit of an executor needs: to be the one in charge, and to have seen everything committed before.
May(e) ==
  /\ ex[e].epoch > 0
  /\ Has("epoch") => ex[e].epoch = db.epoch
  /\ Has("version") => ex[e].ver = out.ver

Fact(kind, id, traded) == [kind |-> kind, id |-> id, traded |-> traded]

Takeover(e) ==
  /\ db.epoch < MaxTakeovers
  /\ db' = [db EXCEPT !.epoch = @ + 1]
  /\ ex' = [ex EXCEPT ![e] = [epoch |-> db.epoch + 1, ver |-> out.ver, cur |-> db.cur, used |-> db.used,
                              due |-> IF Has("ask, never send again") THEN {}
                                      ELSE db.used]]
  /\ UNCHANGED <<log, gate, risk, signed, order, old, out, net, venue>>

Told(id) == id \in out.told

\* The next approval or halt: one commit writes what becomes of it. An entry needs an open gate in that same commit.
Consume(e) ==
  /\ May(e) /\ ex[e].cur < Len(log)
  /\ LET next == log[ex[e].cur + 1]
         id == next.id
         isOrder == next.kind \in {"entry", "exit", "forged", "again"}
         isGood == /\ Has("seal") => next.kind # "forged"
                   /\ Has("used once") => id \notin ex[e].used
                   /\ id \notin old
                   /\ (next.kind # "exit" /\ Has("gate")) => gate = "open"
         kind == IF ~isOrder THEN "noted" ELSE IF isGood THEN "submitted" ELSE "refused"
         cur == ex[e].cur + 1
         used == IF kind = "submitted" THEN ex[e].used \cup {id} ELSE ex[e].used
     IN /\ out' = [out EXCEPT !.ver = @ + 1,
                            !.queue = IF kind = "refused" /\ next.kind \in {"entry", "exit"} THEN Append(@, Fact("end", id, 0)) ELSE @,
                            !.told = IF kind = "refused" /\ next.kind # "again" THEN @ \cup {id} ELSE @,
                            !.fine = @ /\ ~(kind = "submitted" /\ next.kind = "entry" /\ IsHalted(log))]
        /\ db' = [db EXCEPT !.cur = cur, !.used = used]
        /\ ex' = [ex EXCEPT ![e].cur = cur, ![e].used = used, ![e].ver = out.ver + 1,
                            ![e].due = IF kind = "submitted" THEN @ \cup {id} ELSE @]
        /\ UNCHANGED <<log, gate, risk, signed, order, old, net, venue>>

Send(e, id) ==
  /\ id \in ex[e].due
  /\ ex' = [ex EXCEPT ![e].due = @ \ {id}]
  /\ net' = [net EXCEPT ![id] = IF Has("expiry before sending") /\ id \in old THEN @ ELSE Min(@ + 1, 2)]
  /\ UNCHANGED <<log, gate, risk, signed, order, old, out, db, venue>>

\* Only in the mutant: the request leaves before its submission is committed.
SendFirst(e) ==
  /\ ~Has("commit before sending") /\ ex[e].epoch > 0 /\ ex[e].cur < Len(log)
  /\ LET next == log[ex[e].cur + 1]
     IN /\ next.kind = "entry" /\ net[next.id] = 0
        /\ net' = [net EXCEPT ![next.id] = 1]
  /\ UNCHANGED <<log, gate, risk, signed, order, old, out, db, ex, venue>>

Tell(e, fact, next) ==
  /\ May(e)
  /\ out' = [next EXCEPT !.ver = @ + 1, !.queue = Append(@, fact)]
  /\ ex' = [ex EXCEPT ![e].ver = out.ver + 1]
  /\ UNCHANGED <<log, gate, risk, signed, order, old, db, net, venue>>

TellFill(e, id) == out.fills[id] < venue.done[id] /\ Tell(e, Fact("fill", id, 0), [out EXCEPT !.fills[id] = @ + 1])
TellEnd(e, id) == id \in venue.ended /\ ~Told(id) /\ Tell(e, Fact("end", id, venue.done[id]), [out EXCEPT !.told = @ \cup {id}])
TellAdl(e) == out.adl < venue.adl /\ Tell(e, Fact("adl", 0, 0), [out EXCEPT !.adl = @ + 1])

\* Proven dead: the exchange does not know it, and no packet of it can come any more.
TellDead(e, id) ==
  /\ Has("unknown is asked for") /\ id \in ex[e].used /\ venue.accepted[id] = 0 /\ ~Told(id)
  /\ Has("patience") => id \in old /\ net[id] = 0
  /\ Tell(e, Fact("end", id, 0), [out EXCEPT !.told = @ \cup {id}])

\* ---- time, network, exchange ------------------------------------------------------------------------------------
Expire(id) ==
  /\ order[id].size > 0 /\ id \notin old /\ old' = old \cup {id}
  /\ UNCHANGED <<log, gate, risk, signed, order, out, db, ex, net, venue>>

Lose(id) == net[id] > 0 /\ net' = [net EXCEPT ![id] = @ - 1] /\ UNCHANGED <<log, gate, risk, signed, order, old, out, db, ex, venue>>

Arrive(id) ==
  /\ net[id] > 0 /\ net' = [net EXCEPT ![id] = @ - 1]
  /\ venue' = [venue EXCEPT !.accepted[id] = Min(@ + 1, 2), !.rest[id] = @ + order[id].size, !.ended = @ \ {id}]
  /\ UNCHANGED <<log, gate, risk, signed, order, old, out, db, ex>>

Trade(id) ==
  /\ venue.rest[id] > 0
  /\ id \in Exits => venue.pos * order[id].side < 0
  /\ venue' = [venue EXCEPT !.pos = @ + order[id].side, !.done[id] = @ + 1, !.rest[id] = @ - 1,
                            !.ended = IF venue.rest[id] = 1 THEN @ \cup {id} ELSE @]
  /\ UNCHANGED <<log, gate, risk, signed, order, old, out, db, ex, net>>

End(id) ==
  /\ venue.rest[id] > 0
  /\ venue' = [venue EXCEPT !.rest[id] = 0, !.ended = @ \cup {id}]
  /\ UNCHANGED <<log, gate, risk, signed, order, old, out, db, ex, net>>

Adl ==
  /\ venue.adl < MaxAdl /\ venue.pos # 0
  /\ venue' = [venue EXCEPT !.adl = @ + 1, !.pos = IF @ > 0 THEN @ - 1 ELSE @ + 1]
  /\ UNCHANGED <<log, gate, risk, signed, order, old, out, db, ex, net>>

Next ==
  \/ \E id \in Entries, side \in {1, -1}, size \in 1..MaxSize : ApproveEntry(id, side, size)
  \/ \E id \in Exits : ApproveExit(id)
  \/ \E id \in Forged : Forge(id)
  \/ \E id \in Entries : Replay(id)
  \/ Halt \/ Restart \/ Learn \/ Adl
  \/ \E halt \in 1..MaxHalts : Resume(halt) \/ \E who \in Operators : Sign(halt, who)
  \/ \E e \in Executors : Takeover(e) \/ Consume(e) \/ SendFirst(e) \/ TellAdl(e)
  \/ \E e \in Executors, id \in Ids : Send(e, id) \/ TellFill(e, id) \/ TellEnd(e, id) \/ TellDead(e, id)
  \/ \E id \in Ids : Expire(id) \/ Lose(id) \/ Arrive(id) \/ Trade(id) \/ End(id)

Spec == Init /\ [][Next]_vars

\* ---- theorems ---------------------------------------------------------------------------------------------------
\* No entry is approved, and none is submitted, in a commit between a halt and its resume.
T1 == /\ \A i \in 1..Len(log) : log[i].kind = "entry" => log[i].fine
      /\ out.fine

\* The exchange's own position and what may still fill of what was approved, on either side.
Alive(id) == IF id \in venue.ended \/ Told(id) THEN 0 ELSE order[id].size - venue.done[id]
Truth(side) == Max(side * venue.pos, 0) + Sum([id \in Entries |-> Alive(id)], {id \in Entries : order[id].side = side /\ order[id].size > 0})
T2 == Truth(1) <= L /\ Truth(-1) <= L

\* A halt stands until two operators have named it; what is halted in the log is halted in risk.
T3 == /\ \A i \in 1..Len(log) : log[i].kind = "resume" => log[i].fine
      /\ IsHalted(log) <=> risk.mode = "HALTED"

\* What the exchange accepted was approved by risk, and its submission was committed before.
T5 == \A id \in Ids : venue.accepted[id] > 0 => id \notin Forged /\ id \in db.used

T6 == \A id \in Ids : venue.accepted[id] <= 1

\* ---- T8: every approval comes to one end ------------------------------------------------------------------------
\* Fair is what a living system goes on doing: somebody takes over, reads, asks; time passes; packets come or are lost.
Terminal(id) == id \in out.told \/ (venue.done[id] > 0 /\ venue.rest[id] = 0)
Fair ==
  /\ WF_vars(\E e \in Executors : Takeover(e)) /\ WF_vars(\E e \in Executors : Consume(e))
  /\ \A id \in Entries \cup Exits :
       /\ WF_vars(Expire(id)) /\ WF_vars(Lose(id) \/ Arrive(id)) /\ WF_vars(End(id))
       /\ WF_vars(\E e \in Executors : TellEnd(e, id) \/ TellDead(e, id))
LiveSpec == Spec /\ Fair
T8 == \A id \in Entries \cup Exits : (order[id].size > 0) ~> Terminal(id)
==================================================================================================================
