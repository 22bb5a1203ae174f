import '../app/styles.css';
import './collab.css';

import { MarketDataClient, RestClient, fetchIceServers, openSignaling, signalingUrl } from '../client';
import { newPeerId } from '../client/signaling';
import { formatPrice } from '../app/market/format';
import { isInterval } from '../app/route';
import { apply, onTheme, toggleTheme } from '../app/theme';
import { SharedChart } from './chart';
import { isOn, openMedia, turn } from './media';
import { cleanName, isNewerView, isView, timeAfter, type PeerMessage, type View } from './messages';
import { Room, type Participant } from './room';
import { Tiles } from './tiles';

const INTERVALS = ['1s', '1m', '5m', '15m', '1h', '1d'];
const NAME_KEY = 'market-data.name';

function get<T extends HTMLElement>(id: string, kind: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`the page has no #${id}`);
  return element;
}

const symbolInput = get('symbol', HTMLInputElement);
const intervalInput = get('interval', HTMLSelectElement);
const nameInput = get('name', HTMLInputElement);
const joinForm = get('join', HTMLFormElement);
const callBar = get('call', HTMLElement);
const muteButton = get('mute', HTMLButtonElement);
const cameraButton = get('camera', HTMLButtonElement);
const said = get('said', HTMLElement);
const notice = get('notice', HTMLElement);
const connection = get('connection', HTMLElement);
const price = get('price', HTMLOutputElement);

const [roomName, firstView] = parseAddress(location.hash);
let view: View = { ...firstView, at: 0, by: '' };
let room: Room | null = null;
let stream: MediaStream | null = null;
let people: readonly Participant[] = [];

// The chart takes its colours from the page.
apply();
const client = new MarketDataClient();
const tiles = new Tiles(get('tiles', HTMLElement), get('participants', HTMLElement));
const chart = new SharedChart(
  get('plot', HTMLElement),
  get('cursors', HTMLElement),
  client,
  new RestClient(),
  {
    onCursor: (cursor) => room?.send({ type: 'cursor', cursor }),
    onNotice: (text) => {
      notice.textContent = text;
      notice.hidden = text === '';
    },
  },
);
const quote = client.subscribe(
  { symbols: [view.symbol] },
  {
    onUpdate: ({ data }) => {
      if (data.symbol === view.symbol) price.value = formatPrice(data.close, 2);
    },
  },
);

function parseAddress(hash: string): [string, Pick<View, 'symbol' | 'interval'>] {
  const [given = '', symbol = '', interval = ''] = hash.replace(/^#\/?/, '').split('/');
  // Nobody guesses the name of a room that was not told.
  const name = /^[\w-]{1,64}$/.test(given) ? given : newPeerId().slice(0, 12);
  const wanted = decode(symbol);
  return [
    name,
    {
      symbol: isView({ symbol: wanted, interval: '1m', at: 0, by: '' }) ? wanted : 'AAPL',
      interval: isInterval(interval) ? interval : '1m',
    },
  ];
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return '';
  }
}

function showView(): void {
  history.replaceState(
    null,
    '',
    `#${roomName}/${encodeURIComponent(view.symbol)}/${view.interval}`,
  );
  symbolInput.value = view.symbol;
  const intervals = INTERVALS.includes(view.interval) ? INTERVALS : [...INTERVALS, view.interval];
  intervalInput.replaceChildren(...intervals.map((each) => new Option(each)));
  intervalInput.value = view.interval;
  price.value = '';
  quote.setSymbols([view.symbol]);
  chart.show(view.symbol, view.interval);
}

function hello(): PeerMessage {
  const [audio, video] = [isOn(stream, 'audio'), isOn(stream, 'video')];
  return { type: 'hello', name: cleanName(nameInput.value), audio, video };
}

function showPeople(): void {
  const [audio, video] = [isOn(stream, 'audio'), isOn(stream, 'video')];
  const self = room === null ? null : { name: cleanName(nameInput.value), stream, audio, video };
  tiles.show(self, people);
  muteButton.disabled = (stream?.getAudioTracks().length ?? 0) === 0;
  cameraButton.disabled = (stream?.getVideoTracks().length ?? 0) === 0;
  muteButton.setAttribute('aria-pressed', String(!audio));
  muteButton.textContent = audio ? 'Mute' : 'Unmute';
  cameraButton.setAttribute('aria-pressed', String(video));
  cameraButton.textContent = video ? 'Camera off' : 'Camera on';
}

async function join(withMedia: boolean): Promise<void> {
  localStorage.setItem(NAME_KEY, nameInput.value);
  joinForm.inert = true;
  try {
    const media = withMedia ? await openMedia() : { stream: null, problem: '' };
    stream = media.stream;
    said.textContent = media.problem;
    const iceServers = await fetchIceServers(location.href);
    enter(iceServers);
  } catch (error) {
    leave();
    said.textContent = `The gateway cannot be reached: ${String(error)}`;
  } finally {
    joinForm.inert = false;
  }
}

function enter(iceServers: RTCIceServer[]): void {
  room = new Room(
    {
      room: roomName,
      name: cleanName(nameInput.value),
      iceServers,
      stream,
      signaling: (events) => openSignaling(signalingUrl(location.href), events),
    },
    {
      onPeople: (there) => {
        people = there;
        showPeople();
      },
      onJoined: (person) => (said.textContent = `${person.name} is here.`),
      onLeft: (person) => {
        chart.remove(person.id);
        said.textContent = `${person.name} has left.`;
      },
      onMessage: take,
      onGreet: (send) => {
        send(hello());
        if (view.at > 0) send({ type: 'view', view });
      },
      onConnection: (connected) => {
        connection.textContent = connected ? 'in the room' : 'reconnecting';
        connection.className = connected ? 'pill good' : 'pill warn';
      },
    },
  );
  joinForm.hidden = true;
  callBar.hidden = false;
  document.documentElement.dataset['room'] = room.id;
  showPeople();
  muteButton.focus();
}

function take(from: Participant, message: PeerMessage): void {
  if (message.type === 'cursor') {
    chart.put(from.id, from.name, message.cursor);
  } else if (message.type === 'view' && isNewerView(message.view, view)) {
    view = message.view;
    showView();
    said.textContent = `${from.name} shows ${view.symbol}, ${view.interval}.`;
  }
}

function leave(): void {
  room?.leave();
  room = null;
  for (const person of people) chart.remove(person.id);
  people = [];
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  joinForm.hidden = false;
  callBar.hidden = true;
  connection.textContent = 'not connected';
  connection.className = 'pill';
  delete document.documentElement.dataset['room'];
  showPeople();
}

function toggle(kind: 'audio' | 'video'): void {
  turn(stream, kind, !isOn(stream, kind));
  room?.send(hello());
  showPeople();
}

onTheme(() => chart.setTheme());
nameInput.value = localStorage.getItem(NAME_KEY) ?? '';
document.querySelector('.room')?.append(`Room ${roomName}`);
joinForm.addEventListener('submit', (event) => {
  event.preventDefault();
  void join(true);
});
get('join-quietly', HTMLButtonElement).addEventListener('click', () => {
  if (joinForm.reportValidity()) void join(false);
});
muteButton.addEventListener('click', () => toggle('audio'));
cameraButton.addEventListener('click', () => toggle('video'));
get('leave', HTMLButtonElement).addEventListener('click', () => {
  leave();
  said.textContent = 'You have left.';
  nameInput.focus();
});
get('theme', HTMLButtonElement).addEventListener('click', toggleTheme);
get('copy', HTMLButtonElement).addEventListener('click', () => {
  // Where there is no https, there is the address bar.
  const clipboard = (navigator as Partial<Navigator>).clipboard;
  const copied = clipboard?.writeText(location.href) ?? Promise.reject(new Error());
  copied.then(
    () => (said.textContent = 'The link of this room is copied.'),
    () => (said.textContent = 'Copy the link from the address bar.'),
  );
});
get('view', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  const symbol = symbolInput.value.trim();
  const chosen = {
    symbol,
    interval: intervalInput.value,
    at: timeAfter(view, Date.now()),
    by: room?.id ?? '',
  };
  if (!isView(chosen)) {
    said.textContent = `${symbol} is no symbol.`;
    return;
  }
  view = chosen;
  showView();
  room?.send({ type: 'view', view });
});
// Else the others would wait for us.
addEventListener('pagehide', () => room?.leave());
client.open();
showView();
showPeople();
