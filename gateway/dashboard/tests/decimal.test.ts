import { expect, test } from 'vitest';

import { compareDecimal, groupDigits, msBetween, msToNs, nsToMs } from '../src/client';

test('decimal strings are ordered by value', () => {
  const values = ['10', '9', '9007199254740993', '9007199254740992', '0.469', '0', '10.5', '0.5'];
  expect(values.sort(compareDecimal)).toEqual([
    '0',
    '0.469',
    '0.5',
    '9',
    '10',
    '10.5',
    '9007199254740992',
    '9007199254740993',
  ]);
});

test.each([
  ['0', '0'],
  ['999', '999'],
  ['1000', '1,000'],
  ['9007199254740993', '9,007,199,254,740,993'],
  ['-123456', '-123,456'],
  ['-1234', '-1,234'],
  ['1234.56789', '1,234.56789'],
  ['-0.123456', '-0.123456'],
  ['1e+21', '1e+21'],
  ['', ''],
])('%s is written %s', (digits, grouped) => {
  expect(groupDigits(digits)).toBe(grouped);
});

test('times in nanoseconds are subtracted exactly', () => {
  expect(msBetween(1735201234567890123n, 1735201234568890123n)).toBe(1);
  expect(msBetween(1735201234567890123n, 1735201234567891123n)).toBe(0.001);
});

test('milliseconds with a fraction become nanoseconds', () => {
  expect(msToNs(1735201234567.25)).toBe(1735201234567250000n);
  expect(nsToMs('1735201234567250999')).toBe(1735201234567.25);
});
