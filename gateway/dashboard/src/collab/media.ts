// Camera and microphone: what there is, and why there is less.

export interface Media {
  readonly stream: MediaStream | null;
  /** Why something is missing; empty: nothing is. */
  readonly problem: string;
}

const VIDEO = { width: { ideal: 640 }, height: { ideal: 360 }, frameRate: { ideal: 24 } };

export async function openMedia(): Promise<Media> {
  // Browsers have it on https and on localhost alone.
  const devices = (navigator as Partial<Navigator>).mediaDevices;
  if (devices === undefined) {
    return { stream: null, problem: 'Camera and microphone need https.' };
  }
  try {
    return { stream: await devices.getUserMedia({ audio: true, video: VIDEO }), problem: '' };
  } catch {
    try {
      const stream = await devices.getUserMedia({ audio: true });
      return { stream, problem: 'There is no camera to use.' };
    } catch (error) {
      return { stream: null, problem: `No camera and no microphone: ${describe(error)}.` };
    }
  }
}

export function isOn(stream: MediaStream | null, kind: 'audio' | 'video'): boolean {
  return tracks(stream, kind).some((track) => track.enabled);
}

/** Turn it on or off; the others get silence, or a black picture. */
export function turn(stream: MediaStream | null, kind: 'audio' | 'video', on: boolean): void {
  for (const track of tracks(stream, kind)) track.enabled = on;
}

function tracks(stream: MediaStream | null, kind: 'audio' | 'video'): MediaStreamTrack[] {
  if (stream === null) return [];
  return kind === 'audio' ? stream.getAudioTracks() : stream.getVideoTracks();
}

function describe(error: unknown): string {
  return error instanceof DOMException && error.name === 'NotAllowedError'
    ? 'they were not allowed'
    : 'none was found';
}
