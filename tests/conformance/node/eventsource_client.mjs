// Listens to server-sent events for ever, and prints what comes as lines of JSON.
// Usage: node eventsource_client.mjs URL
import { EventSource } from 'eventsource';

const source = new EventSource(process.argv[2]);
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

source.onopen = () => print({ event: 'open' });
for (const name of ['update', 'status', 'error']) {
  source.addEventListener(name, (event) => {
    // The library's own errors have the name of ours, and no data.
    const data = event.data === undefined ? null : JSON.parse(event.data);
    print({ event: name, id: event.lastEventId ?? null, data });
  });
}
