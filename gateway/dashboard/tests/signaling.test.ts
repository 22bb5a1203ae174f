import { expect, test } from 'vitest';

import { decodeFrame, encodeFrame, parseSignal, signalingUrl } from '../src/client/signaling';
import { parseFarewell } from '../src/client/webrtc';
import { isNewerView, parsePeerMessage, timeAfter } from '../src/collab/messages';

test('a frame comes out as it went in', () => {
  const frame = decodeFrame(encodeFrame('SEND', { destination: '/app/signal' }, '{"a":"\\u0000"}'));
  expect(frame?.command).toBe('SEND');
  expect(frame?.headers.get('destination')).toBe('/app/signal');
  expect(frame?.body).toBe('{"a":"\\u0000"}');
});

test('headers are unescaped, and the first of two counts', () => {
  const frame = decodeFrame('MESSAGE\na:x\\cy\\nz\\\\n\na:2\n\nbody\0\n');
  expect(frame?.headers.get('a')).toBe('x:y\nz\\n');
  expect(frame?.body).toBe('body');
});

test.each(['\n', '', 'MESSAGE', 'MESSAGE\n\n'])('%j is no frame', (text) => {
  expect(decodeFrame(text)).toBeNull();
});

test.each(['', '1', 'null', '{}', '{"type":1,"senderId":"a"}', '{"type":"JOIN"}'])(
  '%j is no signal',
  (body) => {
    expect(parseSignal(body)).toBeNull();
  },
);

test('the signaling is where the gateway is', () => {
  expect(signalingUrl('http://a:8080/collab#x')).toBe('ws://a:8080/ws');
  expect(signalingUrl('https://a')).toBe('wss://a/ws');
});

test('only a farewell is one', () => {
  expect(parseFarewell('{"type":"update"}')).toBeNull();
  const text = '{"type":"close","code":1001,"reason":"the gateway stops"}';
  expect(parseFarewell(text)).toEqual({ code: 1001, reason: 'the gateway stops' });
});

test('what others send is bounded, or nothing', () => {
  const hello = parsePeerMessage(JSON.stringify({ type: 'hello', name: 'x'.repeat(99), audio: 1 }));
  expect(hello).toEqual({ type: 'hello', name: 'x'.repeat(40), audio: false, video: false });
  const cursor = { time: 1, price: null, x: 0.5, y: 1 };
  expect(parsePeerMessage(JSON.stringify({ type: 'cursor', cursor }))).toEqual({
    type: 'cursor',
    cursor,
  });
  const out = { ...cursor, x: 1.5 };
  expect(parsePeerMessage(JSON.stringify({ type: 'cursor', cursor: out }))).toBeNull();
  for (const text of ['', '1', '{"type":"view","view":{"symbol":"A*","interval":"1m","at":1}}', 7]) {
    expect(parsePeerMessage(text)).toBeNull();
  }
});

test('the newest view counts, and of two at once the same for all', () => {
  const view = { symbol: 'A', interval: '1m', at: 5, by: 'a' };
  expect(isNewerView({ ...view, at: 6 }, view)).toBe(true);
  expect(isNewerView({ ...view, at: 4, by: 'z' }, view)).toBe(false);
  expect(isNewerView({ ...view, by: 'b' }, view)).toBe(true);
  expect(isNewerView(view, { ...view, by: 'b' })).toBe(false);
});

test('what a person chooses counts, though the clock of the one before is ahead', () => {
  const theirs = { symbol: 'A', interval: '1m', at: 300_005, by: 'z' };
  const ours = { ...theirs, at: timeAfter(theirs, 5), by: 'a' };
  expect(isNewerView(ours, theirs)).toBe(true);
  expect(timeAfter(ours, 400_000)).toBe(400_000);
});
