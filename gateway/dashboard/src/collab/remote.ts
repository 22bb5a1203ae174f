// One other person: a peer connection by the perfect negotiation pattern (WebRTC 1.0, 10.7).

import type { Signal } from '../client';
import { parsePeerMessage, type PeerMessage } from './messages';

export interface RemoteEvents {
  /** Send a message to this person through the relay. */
  onSignal(signal: Pick<Signal, 'type' | 'sdp' | 'candidate'>): void;
  onOpen(): void;
  onMessage(message: PeerMessage): void;
  onStream(stream: MediaStream): void;
  onState(state: RTCPeerConnectionState): void;
  /** The person has left, or cannot be reached. */
  onGone(): void;
}

// How long a connection may be interrupted before the person counts as gone.
const LOST_MS = 15_000;

export class Remote {
  readonly pc: RTCPeerConnection;
  private readonly channel: RTCDataChannel;
  private makingOffer = false;
  private ignoreOffer = false;
  private settingAnswer = false;
  private gone = false;
  private waiting: boolean;
  private lost: ReturnType<typeof setTimeout> | undefined;
  // One after the other: a candidate must not overtake the description that it belongs to.
  private turn: Promise<void> = Promise.resolve();

  /**
   * @param polite Whether the first offer is the other's to make, and a new connection after a
   *   failed one; of offers that cross nevertheless, the polite side's own is given up.
   */
  constructor(
    iceServers: RTCIceServer[],
    private readonly polite: boolean,
    stream: MediaStream | null,
    private readonly events: RemoteEvents,
  ) {
    this.waiting = polite;
    const pc = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle' });
    this.pc = pc;
    this.expect();
    pc.onnegotiationneeded = () => void this.offer();
    pc.onicecandidate = ({ candidate }) =>
      events.onSignal({ type: 'ICE', candidate: candidate?.toJSON() ?? null });
    pc.ontrack = ({ streams: [theirs] }) => {
      if (theirs !== undefined) events.onStream(theirs);
    };
    pc.onconnectionstatechange = () => this.follow();
    // Known to both sides, so nobody has to wait for the other's.
    this.channel = pc.createDataChannel('room', { negotiated: true, id: 0 });
    this.channel.onopen = () => events.onOpen();
    this.channel.onmessage = ({ data }: MessageEvent<unknown>) => {
      const message = parsePeerMessage(data);
      if (message !== null) events.onMessage(message);
    };
    this.channel.onclose = () => this.leave();
    if (stream !== null) stream.getTracks().forEach((track) => pc.addTrack(track, stream));
  }

  /** Send a message, if the channel is open; a cursor that would have to wait is left out. */
  send(message: PeerMessage): void {
    if (this.channel.readyState !== 'open') return;
    if (message.type === 'cursor' && this.channel.bufferedAmount > 0) return;
    this.channel.send(JSON.stringify(message));
  }

  /** Take what the person sent through the relay. */
  take(signal: Signal): void {
    this.turn = this.turn.then(() => this.negotiate(signal)).catch((error: unknown) => {
      if (!this.gone) console.warn('negotiation failed', error);
    });
  }

  close(): void {
    this.gone = true;
    clearTimeout(this.lost);
    this.channel.onclose = null;
    this.pc.onconnectionstatechange = null;
    this.pc.close();
  }

  private async offer(): Promise<void> {
    if (this.waiting) return;
    try {
      this.makingOffer = true;
      await this.pc.setLocalDescription();
      this.tellDescription();
    } catch (error) {
      if (!this.gone) console.warn('no offer', error);
    } finally {
      this.makingOffer = false;
    }
  }

  private async negotiate(signal: Signal): Promise<void> {
    const { pc } = this;
    if (this.gone) return;
    if (signal.type === 'OFFER' || signal.type === 'ANSWER') {
      const type = signal.type === 'OFFER' ? 'offer' : 'answer';
      const ready =
        !this.makingOffer && (pc.signalingState === 'stable' || this.settingAnswer);
      this.ignoreOffer = !this.polite && type === 'offer' && !ready;
      if (this.ignoreOffer) return;
      this.settingAnswer = type === 'answer';
      try {
        await pc.setRemoteDescription({ type, sdp: signal.sdp ?? '' });
      } finally {
        this.settingAnswer = false;
      }
      if (type === 'offer') {
        this.waiting = false;
        await pc.setLocalDescription();
        this.tellDescription();
      }
    } else if (signal.type === 'ICE') {
      try {
        await pc.addIceCandidate(signal.candidate ?? null);
      } catch (error) {
        // Those of an offer that we passed over mean nothing to us.
        if (!this.ignoreOffer) throw error;
      }
    }
  }

  private tellDescription(): void {
    const description = this.pc.localDescription;
    if (description === null || this.gone) return;
    const type = description.type === 'offer' ? 'OFFER' : 'ANSWER';
    this.events.onSignal({ type, sdp: description.sdp });
  }

  private follow(): void {
    const state = this.pc.connectionState;
    this.events.onState(state);
    if (state === 'connected') {
      clearTimeout(this.lost);
      this.lost = undefined;
    } else if (state === 'failed' || state === 'disconnected') {
      this.expect();
      // Another network, perhaps.
      if (state === 'failed' && !this.polite) this.pc.restartIce();
    }
  }

  private expect(): void {
    this.lost ??= setTimeout(() => this.leave(), LOST_MS);
  }

  private leave(): void {
    if (this.gone) return;
    this.close();
    this.events.onGone();
  }
}
