// The videos, and the list of who is there.

import type { Participant } from './room';

export interface Self {
  readonly name: string;
  readonly stream: MediaStream | null;
  readonly audio: boolean;
  readonly video: boolean;
}

const STATES: Readonly<Partial<Record<RTCPeerConnectionState, string>>> = {
  new: 'connecting',
  connecting: 'connecting',
  disconnected: 'interrupted',
  failed: 'interrupted',
};

export class Tiles {
  private readonly tiles = new Map<string, HTMLElement>();

  constructor(
    private readonly root: HTMLElement,
    private readonly list: HTMLElement,
  ) {}

  show(self: Self | null, people: readonly Participant[]): void {
    const wanted = new Set(people.map(({ id }) => id));
    if (self !== null) wanted.add('self');
    for (const [id, tile] of this.tiles) {
      if (wanted.has(id)) continue;
      tile.remove();
      this.tiles.delete(id);
    }
    const rows: HTMLElement[] = [];
    if (self !== null) {
      this.tile('self', `${self.name} (you)`, self.stream, self.video);
      rows.push(row(`${self.name} (you)`, marks(self.audio, self.video)));
    }
    for (const { id, name, stream, audio, video, state } of people) {
      this.tile(id, name, stream, video);
      const doing = STATES[state];
      rows.push(row(name, doing === undefined ? marks(audio, video) : doing));
    }
    this.list.replaceChildren(...rows);
  }

  private tile(id: string, name: string, stream: MediaStream | null, video: boolean): void {
    let tile = this.tiles.get(id);
    if (tile === undefined) {
      tile = document.createElement('figure');
      tile.dataset['person'] = id;
      const screen = document.createElement('video');
      screen.autoplay = true;
      screen.playsInline = true;
      // Nobody wants to hear themselves.
      screen.muted = id === 'self';
      tile.append(screen, document.createElement('figcaption'));
      this.tiles.set(id, tile);
      this.root.append(tile);
    }
    const [screen, caption] = [tile.querySelector('video'), tile.querySelector('figcaption')];
    if (screen !== null) {
      if (screen.srcObject !== stream) screen.srcObject = stream;
      screen.hidden = !video;
      screen.setAttribute('aria-label', `Video of ${name}`);
    }
    if (caption !== null) caption.textContent = name;
    tile.dataset['initial'] = name.slice(0, 1).toUpperCase();
  }
}

function row(name: string, state: string): HTMLElement {
  const item = document.createElement('li');
  const label = document.createElement('span');
  label.textContent = name;
  const note = document.createElement('span');
  note.className = 'dim';
  note.textContent = state;
  item.append(label, note);
  return item;
}

function marks(audio: boolean, video: boolean): string {
  const off = [audio ? '' : 'muted', video ? '' : 'no camera'].filter((mark) => mark !== '');
  return off.join(', ');
}
