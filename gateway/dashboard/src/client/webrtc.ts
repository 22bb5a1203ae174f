// Messages over a data channel of the gateway; STOMP carries the signaling until it is open.

import {
  newPeerId,
  openSignaling,
  signalingUrl,
  type Signal,
  type Signaling,
  type SignalingFactory,
} from './signaling';
import type { Transport, TransportEvents } from './transport';

export interface WebRtcOptions {
  /** The signaling, instead of a WebSocket to the gateway. */
  readonly signaling?: SignalingFactory;
  /** STUN and TURN servers, instead of those that the gateway names. */
  readonly iceServers?: readonly RTCIceServer[];
}

// As long as the gateway waits (GATEWAY_WEBRTC_SETUP_TIMEOUT_S).
const OPEN_TIMEOUT_MS = 15_000;
// The gateway's id among the peers, and the name of its channel.
const GATEWAY = 'gateway';
const CHANNEL = 'market-data';
// As a WebSocket that ended without a word.
const ABNORMAL = 1006;

/** Return the STUN and TURN servers that the gateway at `base` names. */
export async function fetchIceServers(base: string | URL): Promise<RTCIceServer[]> {
  const response = await fetch(new URL('api/v1/webrtc', base));
  if (!response.ok) throw new Error(`api/v1/webrtc: ${response.status}`);
  const { iceServers } = (await response.json()) as { iceServers: RTCIceServer[] };
  return iceServers;
}

/** Messages over WebRTC to the gateway at `base`. */
export function webRtcTransport(base: string | URL, options: WebRtcOptions = {}): Transport {
  let connection: GatewayPeer | null = null;
  return {
    connect(events) {
      connection = new GatewayPeer(base, options, events);
      void connection.open();
    },
    send(text) {
      connection?.send(text);
    },
    close() {
      connection?.close();
    },
  };
}

class GatewayPeer {
  private readonly id = newPeerId();
  private pc: RTCPeerConnection | null = null;
  private channel: RTCDataChannel | null = null;
  private signaling: Signaling | null = null;
  // Ours, until somebody listens.
  private candidates: RTCIceCandidateInit[] = [];
  private listening = false;
  private over = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly base: string | URL,
    private readonly options: WebRtcOptions,
    private readonly events: TransportEvents,
  ) {}

  async open(): Promise<void> {
    // Else the gateway would send into the void until it notices, which takes 30 s.
    addEventListener('pagehide', this.hide);
    this.timer = setTimeout(() => this.end(ABNORMAL, 'no peer connection in time'), OPEN_TIMEOUT_MS);
    try {
      const iceServers = this.options.iceServers ?? (await fetchIceServers(this.base));
      if (this.over) return;
      this.connect([...iceServers]);
    } catch (error) {
      this.end(ABNORMAL, String(error));
    }
  }

  send(text: string): void {
    if (this.channel?.readyState === 'open') this.channel.send(text);
  }

  close(): void {
    this.over = true;
    removeEventListener('pagehide', this.hide);
    clearTimeout(this.timer);
    this.signaling?.close();
    // Listeners would hear of our own doing.
    if (this.channel !== null) this.channel.onclose = this.channel.onmessage = null;
    if (this.pc !== null) this.pc.onconnectionstatechange = this.pc.onicecandidate = null;
    this.pc?.close();
  }

  private readonly hide = () => this.end(ABNORMAL, 'the page was left');

  private connect(iceServers: RTCIceServer[]): void {
    const pc = new RTCPeerConnection({ iceServers });
    this.pc = pc;
    const channel = pc.createDataChannel(CHANNEL);
    this.channel = channel;
    channel.onopen = () => {
      clearTimeout(this.timer);
      // The channel lives on without it.
      this.signaling?.close();
      this.signaling = null;
      this.events.onOpen();
    };
    channel.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (typeof data === 'string') this.take(data);
    };
    channel.onclose = () => this.end(ABNORMAL, '');
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === 'failed') this.end(ABNORMAL, 'the peer connection failed');
    };
    pc.onicecandidate = ({ candidate }) => {
      if (candidate === null) return;
      this.candidates.push(candidate.toJSON());
      this.sendCandidates();
    };
    const open =
      this.options.signaling ?? ((events) => openSignaling(signalingUrl(this.base), events));
    this.signaling = open({
      onOpen: () => void this.offer(pc),
      onSignal: (signal) => void this.hear(pc, signal),
      onClose: (code, reason) => this.end(code, reason),
    });
  }

  private async offer(pc: RTCPeerConnection): Promise<void> {
    try {
      await pc.setLocalDescription();
      if (this.over) return;
      this.tell({ type: 'OFFER', sdp: pc.localDescription?.sdp ?? '' });
      this.listening = true;
      this.sendCandidates();
    } catch (error) {
      this.end(ABNORMAL, String(error));
    }
  }

  private async hear(pc: RTCPeerConnection, signal: Signal): Promise<void> {
    if (signal.senderId !== GATEWAY || signal.targetId !== this.id) return;
    try {
      if (signal.type === 'ANSWER') {
        await pc.setRemoteDescription({ type: 'answer', sdp: signal.sdp ?? '' });
      } else if (signal.type === 'ICE') {
        await pc.addIceCandidate(signal.candidate ?? null);
      } else if (signal.type === 'ERROR') {
        this.end(ABNORMAL, String(signal['message']));
      }
    } catch (error) {
      if (!this.over) this.end(ABNORMAL, String(error));
    }
  }

  private take(text: string): void {
    // A data channel closes without a code, so the last message has it.
    const farewell = parseFarewell(text);
    if (farewell === null) this.events.onMessage(text);
    else this.end(farewell.code, farewell.reason);
  }

  private sendCandidates(): void {
    if (!this.listening) return;
    for (const candidate of this.candidates.splice(0)) this.tell({ type: 'ICE', candidate });
  }

  private tell(signal: Pick<Signal, 'type' | 'sdp' | 'candidate'>): void {
    this.signaling?.send({ ...signal, senderId: this.id, targetId: GATEWAY });
  }

  private end(code: number, reason: string): void {
    if (this.over) return;
    this.close();
    this.events.onClose(code, reason);
  }
}

/** Return what the gateway says when it closes; null for every other message. */
export function parseFarewell(text: string): { code: number; reason: string } | null {
  if (!text.startsWith('{"type":"close"')) return null;
  const { code, reason } = JSON.parse(text) as { code: number; reason: string };
  return { code, reason };
}
