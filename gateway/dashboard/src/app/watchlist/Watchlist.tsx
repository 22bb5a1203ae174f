import { useEffect, useRef, useState, type FormEvent } from 'react';

import { useMarket, useTheme, useTicks } from '../hooks';
import { parseSymbol } from '../../symbols';
import { WatchGrid } from './grid';

interface Props {
  readonly symbol: string;
  readonly onSelect: (symbol: string) => void;
}

export function Watchlist({ symbol, onSelect }: Props) {
  const market = useMarket();
  const theme = useTheme();
  useTicks(1_000);
  const root = useRef<HTMLDivElement>(null);
  const grid = useRef<WatchGrid | null>(null);
  const select = useRef(onSelect);
  select.current = onSelect;
  const [text, setText] = useState('');
  const [rows, setRows] = useState(0);

  useEffect(() => {
    if (root.current === null) return;
    const made = new WatchGrid(root.current, market, {
      onSelect: (chosen) => select.current(chosen),
      onRemove: (chosen) => market.remove(chosen),
      onRows: setRows,
    });
    grid.current = made;
    return () => made.destroy();
  }, [market]);
  useEffect(() => grid.current?.setSelected(symbol), [symbol]);
  useEffect(() => grid.current?.setTheme(), [theme]);
  useEffect(() => grid.current?.setFilter(text), [text]);

  const typed = parseSymbol(text);
  const isNew = typed !== null && market.quotes.get(typed) === undefined;
  const pinned = market.watching.named.includes(symbol);

  function submit(event: FormEvent) {
    event.preventDefault();
    if (typed === null) return;
    if (isNew || !market.watching.all) market.add(typed);
    onSelect(typed);
    setText('');
  }

  return (
    <section className="panel watchlist" aria-label="Watchlist">
      <form className="bar" role="search" onSubmit={submit}>
        <input
          id="filter"
          type="search"
          value={text}
          onChange={(event) => setText(event.target.value)}
          placeholder="Filter or add symbol  /"
          aria-label="Filter, or type a symbol and press Enter to add it"
          autoComplete="off"
          autoCapitalize="characters"
          spellCheck={false}
          maxLength={64}
        />
        {isNew && (
          <button type="submit" className="primary">
            Add {typed}
          </button>
        )}
        {!isNew && pinned && !market.watching.all && (
          <button type="button" onClick={() => market.remove(symbol)}>
            Remove {symbol}
          </button>
        )}
        <label className="check">
          <input
            type="checkbox"
            checked={market.watching.all}
            onChange={(event) => market.watchAll(event.target.checked)}
          />
          All
        </label>
        <output className="dim count" aria-label="Rows shown">
          {rows}
        </output>
      </form>
      <div ref={root} className="grid" aria-label="Prices" />
    </section>
  );
}
