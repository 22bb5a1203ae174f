// Who is in a room: a mesh of peer connections, arranged through the gateway's signaling relay.

import { backoffMs } from '../client/backoff';
import type { Signal, Signaling, SignalingFactory } from '../client';
import { newPeerId } from '../client/signaling';
import { cleanName, type PeerMessage } from './messages';
import { Remote } from './remote';

export interface Participant {
  readonly id: string;
  name: string;
  audio: boolean;
  video: boolean;
  state: RTCPeerConnectionState;
  stream: MediaStream | null;
}

export interface RoomEvents {
  /** Who is there, or what is known of them, has changed. */
  onPeople(people: readonly Participant[]): void;
  onJoined(person: Participant): void;
  onLeft(person: Participant): void;
  onMessage(from: Participant, message: PeerMessage): void;
  /** What a person who has just come must be told. */
  onGreet(send: (message: PeerMessage) => void): void;
  onConnection(connected: boolean): void;
}

export interface RoomOptions {
  readonly room: string;
  readonly name: string;
  readonly iceServers: RTCIceServer[];
  readonly stream: MediaStream | null;
  readonly signaling: SignalingFactory;
}

// Everybody sends to everybody: beyond this many, an upstream of a home is too narrow.
export const MAX_PEOPLE = 8;

interface Member {
  readonly person: Participant;
  readonly remote: Remote;
}

export class Room {
  readonly id = newPeerId();
  private readonly members = new Map<string, Member>();
  private signaling: Signaling | null = null;
  private attempts = 0;
  private open = false;
  private left = false;
  private retry: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly options: RoomOptions,
    private readonly events: RoomEvents,
  ) {
    this.connect();
  }

  /** Tell everybody. */
  send(message: PeerMessage): void {
    for (const { remote } of this.members.values()) remote.send(message);
  }

  leave(): void {
    this.left = true;
    clearTimeout(this.retry);
    this.signaling?.close();
    for (const { remote } of this.members.values()) remote.close();
    this.members.clear();
    this.tellPeople();
  }

  private connect(): void {
    this.signaling = this.options.signaling({
      onOpen: () => {
        this.attempts = 0;
        this.open = true;
        this.events.onConnection(true);
        this.say({ type: 'JOIN' }, null);
      },
      onSignal: (signal) => this.take(signal),
      onClose: () => {
        // Calls go on without the relay; only those who come or go need it.
        this.open = false;
        this.events.onConnection(false);
        const wait = backoffMs(this.attempts++, Math.random);
        this.retry = setTimeout(() => this.connect(), wait);
      },
    });
  }

  private take(signal: Signal): void {
    const { senderId, targetId } = signal;
    const toUs = targetId === this.id || targetId == null;
    if (this.left || signal['room'] !== this.options.room || senderId === this.id || !toUs) return;
    const member = this.members.get(senderId) ?? this.admit(signal);
    if (member === null) return;
    if (signal.type === 'JOIN') {
      // Who comes asks all; each answers, so that the one who came knows them too.
      if (targetId == null) this.say({ type: 'JOIN' }, senderId);
    } else {
      member.remote.take(signal);
    }
  }

  private admit(signal: Signal): Member | null {
    // Candidates that come after somebody left bring nobody back.
    if (signal.type !== 'JOIN' && signal.type !== 'OFFER') return null;
    if (this.members.size >= MAX_PEOPLE - 1) return null;
    const id = signal.senderId;
    const person: Participant = {
      id,
      name: cleanName(signal['name']),
      audio: false,
      video: false,
      state: 'new',
      stream: null,
    };
    const { iceServers, stream } = this.options;
    const remote = new Remote(iceServers, this.id > id, stream, {
      onSignal: (message) => this.say(message, id),
      onOpen: () => {
        this.events.onGreet((message) => remote.send(message));
        this.events.onJoined(person);
      },
      onMessage: (message) => this.hear(person, message),
      onStream: (theirs) => {
        person.stream = theirs;
        this.tellPeople();
      },
      onState: (state) => {
        person.state = state;
        this.tellPeople();
      },
      onGone: () => {
        this.members.delete(id);
        this.events.onLeft(person);
        this.tellPeople();
      },
    });
    const member = { person, remote };
    this.members.set(id, member);
    this.tellPeople();
    return member;
  }

  private hear(person: Participant, message: PeerMessage): void {
    if (message.type === 'hello') {
      person.name = message.name;
      person.audio = message.audio;
      person.video = message.video;
      this.tellPeople();
    }
    this.events.onMessage(person, message);
  }

  private say(message: Pick<Signal, 'type' | 'sdp' | 'candidate'>, targetId: string | null): void {
    const { room, name } = this.options;
    if (this.open) this.signaling?.send({ ...message, senderId: this.id, targetId, room, name });
  }

  private tellPeople(): void {
    this.events.onPeople([...this.members.values()].map(({ person }) => person));
  }
}
