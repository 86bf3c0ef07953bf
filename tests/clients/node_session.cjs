// A day with the Node SDK `bybit-api`, unmodified, at the address given: REST, streams, order entry by socket.
// Run by tests/contract/test_other_clients.py with NODE_PATH naming a node_modules that has it.
const { RestClientV5, WebsocketClient, WebsocketAPIClient } = require('bybit-api');

const url = process.argv[2];
const socket = url.replace('http', 'ws');
const keys = { key: 'sim', secret: 'sim-secret' };
const BTC = { category: 'linear', symbol: 'BTCUSDT' };
const quiet = { trace() {}, info() {}, error() {} };
const address = async (key) =>
  socket + (key.includes('rivateTrade') ? '/v5/trade' : key.includes('rivate') ? '/v5/private' : '/v5/public/linear');

function expect(truth, what, was) {
  if (truth) return;
  console.error(`expected ${what}, was ${JSON.stringify(was)}`);
  process.exit(1);
}

async function ok(promise, what) {
  const answer = await promise;
  expect(answer.retCode === 0, `${what} to be accepted`, answer);
  return answer.result ?? answer.data;
}

async function until(done, what) {
  for (let i = 0; i < 400 && !done(); i++) await new Promise((resolve) => setTimeout(resolve, 25));
  expect(done(), what, 'nothing within 10 s');
}

async function main() {
  const rest = new RestClientV5({ ...keys, baseUrl: url, enable_time_sync: true });
  const ticker = (await ok(rest.getTickers(BTC), 'tickers')).list[0];
  const price = (ticker.markPrice * 0.985).toFixed(1);
  await ok(rest.getInstrumentsInfo({ category: 'linear' }), 'instruments');
  await ok(rest.getWalletBalance({ accountType: 'UNIFIED' }), 'wallet');

  const stream = new WebsocketClient(keys, quiet);
  stream.getWsUrl = address;
  const seen = {};
  stream.on('update', (message) => (seen[message.topic] = message));
  stream.on('exception', (error) => expect(false, 'no exception', error));
  stream.subscribeV5(['order', 'position', 'execution', 'wallet'], 'linear', true);
  stream.subscribeV5(['orderbook.50.BTCUSDT', 'publicTrade.BTCUSDT', 'tickers.BTCUSDT', 'kline.1.BTCUSDT'], 'linear');
  await until(() => seen['orderbook.50.BTCUSDT'] && seen['tickers.BTCUSDT'], 'public streams');

  const trade = new WebsocketAPIClient({ ...keys, attachEventListeners: false }, quiet);
  trade.getWSClient().getWsUrl = address;
  const limit = { ...BTC, side: 'Buy', orderType: 'Limit', qty: '0.01', price };
  const made = await ok(trade.submitNewOrder(limit), 'an order by socket');
  await until(() => seen.order && seen.order.data[0].orderId === made.orderId, 'the message of the order');
  await ok(trade.amendOrder({ ...BTC, orderId: made.orderId, qty: '0.02' }), 'its change');
  await ok(trade.cancelOrder({ ...BTC, orderId: made.orderId }), 'its end');
  const batch = await trade.batchSubmitOrders('linear', [limit, { ...limit, qty: '0' }]);
  expect(JSON.stringify(batch.retExtInfo.list.map((row) => row.code)) === '[0,10001]', 'codes 0 and 10001', batch);

  await ok(rest.submitOrder({ ...BTC, side: 'Buy', orderType: 'Market', qty: '0.01' }), 'a market order');
  await until(() => seen.execution && seen.position && seen.wallet, 'fill, position and wallet');
  const held = (await ok(rest.getPositionInfo({ category: 'linear', settleCoin: 'USDT' }), 'positions')).list;
  expect(held.length === 1 && held[0].size === '0.01', 'one position of 0.01', held);
  await ok(rest.cancelAllOrders({ category: 'linear', settleCoin: 'USDT' }), 'cancel-all');
  await ok(rest.submitOrder({ ...BTC, side: 'Sell', orderType: 'Market', qty: '0.01', reduceOnly: true }), 'the exit');
  const closed = (await ok(rest.getClosedPnL({ category: 'linear' }), 'closed pnl')).list;
  expect(closed.length === 1 && closed[0].closedSize === '0.01', 'one row of 0.01', closed);
  console.log('all as expected');
  process.exit(0);
}

main().catch((error) => expect(false, 'no error', error.message ?? error));
