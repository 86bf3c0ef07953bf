# One recipe, six images: docker build --build-arg SERVICE=risk --tag tidegate/risk:dev .
# SERVICE is marketdata, signal, risk, execution, monitor or tools. Each service's image holds that service, the libraries
# and their packages; another service cannot be imported there because it is not there. tests/deploy replays the COPY lines.
ARG SERVICE

FROM python:3.11-slim-bookworm AS python

# --- the packages of one image, every one checked against its hash ---
FROM python AS packages
ARG SERVICE
COPY requirements/${SERVICE}.txt /tmp/requirements.txt
RUN python -m venv /opt/tidegate \
 && /opt/tidegate/bin/python -m pip install --disable-pip-version-check --no-cache-dir --no-deps --require-hashes \
      --requirement /tmp/requirements.txt \
 && /opt/tidegate/bin/python -m pip uninstall --disable-pip-version-check --yes pip setuptools

# --- what all images share: a user without rights, no file of which it could change ---
FROM python AS runtime
RUN groupadd --gid 10001 tidegate \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tidegate \
 && install --directory --owner=10001 --group=10001 /keys /var/lib/tidegate \
 && install --directory /etc/tidegate
COPY --from=packages /opt/tidegate /opt/tidegate
ENV PATH=/opt/tidegate/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY libs /app/libs
COPY services/__init__.py /app/services/__init__.py
# Settings are mounted here; the command line finds tidegate.toml in its working directory.
WORKDIR /etc/tidegate

# --- a service ---
FROM runtime AS service
ARG SERVICE
ENV SERVICE=${SERVICE}
COPY services/${SERVICE} /app/services/${SERVICE}
RUN python -m compileall -q /app
ARG REVISION=unknown
ENV TIDEGATE_REVISION=${REVISION}
LABEL org.opencontainers.image.title="tidegate" org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["sh", "-c", "exec python -m services.$SERVICE"]

FROM service AS marketdata
FROM service AS signal
FROM service AS risk
FROM service AS execution

# --- monitor: with the command line's verbs that look and act, for whoever is called at night ---
FROM service AS monitor
USER 0:0
COPY deploy/tidegate /usr/local/bin/tidegate
COPY cli/__init__.py cli/act.py cli/audit.py cli/bus.py cli/context.py cli/desk.py cli/follow.py cli/history.py cli/limit.py \
     cli/listing.py cli/main.py cli/operator.py cli/output.py cli/refusals.py cli/rundir.py cli/settings.py cli/signing.py cli/sources.py \
     cli/stage.py cli/toml.py cli/views.py cli/watch.py cli/why.py cli/words.py /app/cli/
RUN python -m compileall -q /app/cli
USER 10001:10001

# --- tools: command line, every core, the simulator; no keys of its own ---
FROM runtime AS tools
COPY deploy/tidegate /usr/local/bin/tidegate
COPY services /app/services
COPY sim /app/sim
COPY cli /app/cli
RUN python -m compileall -q /app \
 && install --directory --owner=10001 --group=10001 /keys/marketdata /keys/signal /keys/risk /keys/execution /keys/watchdog \
      /keys/monitor /keys/sim /keys/redis /keys/operator
ARG REVISION=unknown
ENV TIDEGATE_REVISION=${REVISION}
LABEL org.opencontainers.image.title="tidegate" org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
ENTRYPOINT ["tidegate"]

FROM ${SERVICE}
