import { describe, expect, test } from 'vitest';

import { RestClient, RestError } from '../src/client';
import { bar } from './doubles';

function answering(...answers: Response[]) {
  const asked: string[] = [];
  const rest = new RestClient({
    url: 'http://market.test',
    fetch: (input) => {
      asked.push(String(input));
      const answer = answers.shift();
      return answer ? Promise.resolve(answer) : Promise.reject(new TypeError('refused'));
    },
  });
  return { rest, asked };
}

describe('RestClient', () => {
  test('asks for bars', async () => {
    const page = { symbol: 'BRK/B', interval: '1m', bars: [bar(0)], nextCursor: null };
    const { rest, asked } = answering(Response.json(page));
    expect(await rest.bars('BRK/B', '1m', { to: '5', limit: 2, includePartial: true })).toEqual(page);
    expect(asked).toEqual([
      'http://market.test/api/v1/bars?symbol=BRK%2FB&interval=1m&to=5&limit=2&include_partial=true',
    ]);
  });

  test('waits out the rate limit', async () => {
    const limited = new Response('{}', { status: 429, headers: { 'Retry-After': '0' } });
    const { rest, asked } = answering(limited, Response.json({ symbols: [], nextCursor: null }));
    expect(await rest.symbols('A', 10)).toEqual({ symbols: [], nextCursor: null });
    expect(asked).toHaveLength(2);
  });

  test('says what the server says is wrong', async () => {
    const { rest } = answering(Response.json({ detail: 'interval: no such' }, { status: 422 }));
    await expect(rest.bars('A', '7m')).rejects.toEqual(new RestError(422, 'interval: no such'));
  });

  test('says when nobody answers', async () => {
    await expect(answering().rest.status()).rejects.toMatchObject({ status: 0 });
  });
});
