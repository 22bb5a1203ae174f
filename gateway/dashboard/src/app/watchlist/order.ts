// Which rows are shown, and in which order. Pure.

import { compareDecimal } from '../../client';
import { changeOf, changePercentOf, type Quote } from '../market/quotes';

export const COLUMNS = [
  { key: 'symbol', title: 'Symbol' },
  { key: 'last', title: 'Last' },
  { key: 'change', title: 'Chg' },
  { key: 'percent', title: 'Chg %' },
  { key: 'high', title: 'High' },
  { key: 'low', title: 'Low' },
  { key: 'volume', title: 'Volume' },
  { key: 'age', title: 'Age' },
  { key: 'trend', title: 'Trend' },
] as const;

export type ColumnKey = (typeof COLUMNS)[number]['key'];
export type SortKey = Exclude<ColumnKey, 'trend'>;

/** Columns whose numbers have as many digits as there is place for. */
export type PriceKey = 'last' | 'change' | 'percent' | 'high' | 'low';

export function isPriceKey(key: ColumnKey): key is PriceKey {
  return key !== 'symbol' && key !== 'volume' && key !== 'age' && key !== 'trend';
}

export interface Sorting {
  readonly key: SortKey;
  readonly descending: boolean;
}

export function isSortKey(key: ColumnKey): key is SortKey {
  return key !== 'trend';
}

/** Return the sorting after a click on the head of `key`: numbers begin with the greatest. */
export function nextSorting(now: Sorting, key: SortKey): Sorting {
  if (now.key === key) return { key, descending: !now.descending };
  return { key, descending: key !== 'symbol' && key !== 'age' };
}

type Compare = (a: Quote, b: Quote) => number;

const NUMBERS: Record<
  Exclude<SortKey, 'symbol' | 'volume' | 'age'>,
  (quote: Quote) => number | null
> = {
  last: ({ data }) => data?.close ?? null,
  change: ({ data }) => changeOf(data),
  percent: ({ data }) => changePercentOf(data),
  high: ({ data }) => data?.high ?? null,
  low: ({ data }) => data?.low ?? null,
};

/** Return the quotes whose symbol has `filter` in it, in any case, in order. Those without data come last. */
export function arrange(quotes: Iterable<Quote>, filter: string, sorting: Sorting): Quote[] {
  const wanted = filter.trim().toUpperCase();
  const rows: Quote[] = [];
  for (const quote of quotes) {
    if (quote.symbol.toUpperCase().includes(wanted)) rows.push(quote);
  }
  return rows.sort(comparing(sorting));
}

function comparing({ key, descending }: Sorting): Compare {
  const sign = descending ? -1 : 1;
  const bySymbol: Compare = (a, b) => (a.symbol < b.symbol ? -1 : a.symbol > b.symbol ? 1 : 0);
  if (key === 'symbol') return (a, b) => sign * bySymbol(a, b);
  const compare = valuesOf(key, sign);
  // Equal ones stay where they are, so rows do not jump.
  return (a, b) => compare(a, b) || bySymbol(a, b);
}

function valuesOf(key: Exclude<SortKey, 'symbol'>, sign: number): Compare {
  switch (key) {
    case 'volume':
      return (a, b) => digits(a.data?.volume, b.data?.volume, sign);
    case 'age':
      // The youngest has the latest time.
      return (a, b) => digits(a.data?.timestampNs, b.data?.timestampNs, -sign);
    default: {
      const value = NUMBERS[key];
      return (a, b) => {
        const [left, right] = [value(a), value(b)];
        if (left === null || right === null) return Number(left === null) - Number(right === null);
        return sign * (left - right);
      };
    }
  }
}

function digits(a: string | null | undefined, b: string | null | undefined, sign: number): number {
  if (a == null || b == null) return Number(a == null) - Number(b == null);
  return sign * compareDecimal(a, b);
}
