// The watchlist on the screen. Only the rows in sight exist, and React knows nothing of them: at
// thousands of updates a second they are written to directly, once per frame.

import type { Market } from '../market/market';
import type { Quote } from '../market/quotes';
import { COLUMNS, arrange, isPriceKey, isSortKey, nextSorting, type Sorting } from './order';
import { Row, type Paint } from './row';

export const ROW_HEIGHT = 28;
const HEAD_HEIGHT = 27;
// Rows beyond the edges, so that a fast scroll does not show holes.
const OVERSCAN = 6;
// Ages grow and order changes without anybody's update; more often is restless.
const TIDY_EVERY_MS = 1_000;

export interface GridEvents {
  onSelect(symbol: string): void;
  onRemove(symbol: string): void;
  onRows(count: number): void;
}

export class WatchGrid {
  private readonly head = document.createElement('div');
  private readonly space = document.createElement('div');
  private readonly rows: Row[] = [];
  private readonly bySymbol = new Map<string, Row>();
  private order: Quote[] = [];
  private sorting: Sorting = { key: 'symbol', descending: false };
  private filter = '';
  private selected = '';
  private active = 0;
  private membership = -1;
  private paint: Paint;
  private readonly ends: (() => void)[] = [];

  constructor(
    private readonly root: HTMLElement,
    private readonly market: Market,
    private readonly events: GridEvents,
  ) {
    this.paint = readPaint(root, this.head);
    root.setAttribute('role', 'grid');
    root.setAttribute('aria-colcount', String(COLUMNS.length));
    root.tabIndex = 0;
    this.head.className = 'head';
    this.head.setAttribute('role', 'row');
    this.head.setAttribute('aria-rowindex', '1');
    this.space.className = 'space';
    this.space.setAttribute('role', 'rowgroup');
    const heads = document.createElement('div');
    heads.className = 'heads';
    heads.setAttribute('role', 'rowgroup');
    heads.append(this.head);
    // It scrolls as a whole, and the heads stick: so it is reached by keyboard, and columns align.
    root.replaceChildren(heads, this.space);
    this.drawHeads();
    this.listen();
    this.rearrange();
  }

  setFilter(filter: string): void {
    this.filter = filter;
    this.active = 0;
    this.root.scrollTop = 0;
    this.rearrange();
  }

  setSelected(symbol: string): void {
    this.selected = symbol;
    const at = this.order.findIndex((quote) => quote.symbol === symbol);
    if (at >= 0) this.active = at;
    this.layOut();
  }

  /** Take the colors of the page and the widths of the columns anew. */
  setTheme(): void {
    this.paint = readPaint(this.root, this.head);
    this.layOut();
  }

  destroy(): void {
    this.ends.forEach((end) => end());
    this.root.replaceChildren();
  }

  private listen(): void {
    const listen = <K extends keyof HTMLElementEventMap>(
      element: HTMLElement,
      type: K,
      act: (event: HTMLElementEventMap[K]) => void,
    ) => {
      element.addEventListener(type, act);
      this.ends.push(() => element.removeEventListener(type, act));
    };
    this.root.addEventListener('scroll', this.layOut, { passive: true });
    this.ends.push(() => this.root.removeEventListener('scroll', this.layOut));
    listen(this.space, 'click', (event) => {
      const row = (event.target as Element).closest<HTMLElement>('.row');
      if (row?.dataset['symbol'] !== undefined) this.select(row.dataset['symbol']);
    });
    listen(this.head, 'click', (event) => {
      const key = (event.target as Element).closest<HTMLElement>('button')?.dataset['key'];
      const column = COLUMNS.find((each) => each.key === key);
      if (column === undefined || !isSortKey(column.key)) return;
      this.sorting = nextSorting(this.sorting, column.key);
      this.drawHeads();
      this.head.querySelector<HTMLElement>(`[data-key="${column.key}"]`)?.focus();
      this.rearrange();
    });
    listen(this.root, 'keydown', (event) => this.onKey(event));
    listen(this.space, 'pointerover', (event) => {
      const cell = (event.target as Element).closest<HTMLElement>('.cell');
      const symbol = cell?.parentElement?.dataset['symbol'];
      if (cell && symbol !== undefined) this.bySymbol.get(symbol)?.explain(cell);
    });
    // Columns that became wider have place for more digits.
    const observer = new ResizeObserver(() => this.setTheme());
    observer.observe(this.root);
    const tidy = setInterval(() => this.tidy(), TIDY_EVERY_MS);
    this.ends.push(
      () => observer.disconnect(),
      () => clearInterval(tidy),
      this.market.frames.onDraw((changed) => this.draw(changed)),
    );
  }

  private onKey(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target !== this.root) return;
    const page = Math.max(1, Math.floor(this.height / ROW_HEIGHT) - 1);
    const steps: Record<string, number> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -Infinity,
      End: Infinity,
    };
    const step = steps[event.key];
    const quote = this.order[this.active];
    if (step !== undefined) {
      this.active = Math.max(0, Math.min(this.order.length - 1, this.active + step));
      this.reveal();
    } else if ((event.key === 'Enter' || event.key === ' ') && quote !== undefined) {
      this.select(quote.symbol);
    } else if (event.key === 'Delete' && quote !== undefined) {
      this.events.onRemove(quote.symbol);
    } else {
      return;
    }
    event.preventDefault();
  }

  private select(symbol: string): void {
    this.setSelected(symbol);
    this.events.onSelect(symbol);
  }

  // Of what shows rows.
  private get height(): number {
    return this.root.clientHeight - HEAD_HEIGHT;
  }

  private reveal(): void {
    const top = this.active * ROW_HEIGHT;
    const bottom = top + ROW_HEIGHT - this.height;
    if (this.root.scrollTop > top) this.root.scrollTop = top;
    else if (this.root.scrollTop < bottom) this.root.scrollTop = bottom;
    this.layOut();
  }

  private tidy(): void {
    if (this.membership !== this.market.membership || this.sorting.key !== 'symbol') {
      this.rearrange();
    } else {
      this.drawAll();
    }
  }

  private rearrange(): void {
    const active = this.order[this.active]?.symbol;
    this.membership = this.market.membership;
    this.order = arrange(this.market.quotes.all(), this.filter, this.sorting);
    const at = this.order.findIndex((quote) => quote.symbol === active);
    this.active = at >= 0 ? at : Math.max(0, Math.min(this.active, this.order.length - 1));
    this.root.setAttribute('aria-rowcount', String(this.order.length + 1));
    this.space.style.height = `${this.order.length * ROW_HEIGHT}px`;
    this.events.onRows(this.order.length);
    this.layOut();
  }

  // Let rows exist for what is in sight, and stand where they belong.
  private readonly layOut = (): void => {
    const { height } = this;
    const first = Math.max(0, Math.floor(this.root.scrollTop / ROW_HEIGHT) - OVERSCAN);
    const end = Math.min(
      this.order.length,
      Math.ceil((this.root.scrollTop + height) / ROW_HEIGHT) + OVERSCAN,
    );
    const wanted = this.order.slice(first, end);
    const free = this.freeRows(wanted);
    for (const [offset, quote] of wanted.entries()) {
      const row = this.bySymbol.get(quote.symbol) ?? free.pop() ?? this.newRow();
      this.bySymbol.set(quote.symbol, row);
      const index = first + offset;
      const isActive = index === this.active;
      row.place(quote, index, ROW_HEIGHT, quote.symbol === this.selected, isActive);
    }
    for (const row of free) {
      row.element.remove();
      this.rows.splice(this.rows.indexOf(row), 1);
    }
    const active = this.order[this.active];
    if (active !== undefined && this.bySymbol.has(active.symbol)) {
      this.root.setAttribute('aria-activedescendant', `row-${active.symbol}`);
    } else {
      this.root.removeAttribute('aria-activedescendant');
    }
    this.drawAll();
  };

  private freeRows(wanted: readonly Quote[]): Row[] {
    const kept = new Set(wanted);
    const free: Row[] = [];
    for (const row of this.rows) {
      const { quote } = row;
      if (quote !== null && kept.has(quote)) continue;
      if (quote !== null) this.bySymbol.delete(quote.symbol);
      free.push(row);
    }
    return free;
  }

  private newRow(): Row {
    const row = new Row();
    this.rows.push(row);
    this.space.append(row.element);
    return row;
  }

  private draw(changed: ReadonlySet<Quote>): void {
    // The first symbols should not wait for the next tidying.
    if (this.order.length === 0 && this.market.quotes.size > 0) this.rearrange();
    const now = performance.now();
    const { time } = this.market;
    for (const quote of changed) {
      const row = this.bySymbol.get(quote.symbol);
      if (row?.quote === quote) row.draw(now, time, this.paint);
    }
  }

  private drawAll(): void {
    const now = performance.now();
    const { time } = this.market;
    for (const row of this.rows) row.draw(now, time, this.paint);
  }

  private drawHeads(): void {
    const { key: sorted, descending } = this.sorting;
    this.head.replaceChildren(
      ...COLUMNS.map(({ key, title }) => {
        const cell = document.createElement('div');
        cell.className = `cell ${key}`;
        cell.setAttribute('role', 'columnheader');
        if (!isSortKey(key)) {
          cell.textContent = title;
          return cell;
        }
        const button = document.createElement('button');
        button.type = 'button';
        button.dataset['key'] = key;
        button.textContent = title;
        if (key === sorted) {
          cell.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
          cell.classList.add(descending ? 'descending' : 'ascending');
        }
        cell.append(button);
        return cell;
      }),
    );
  }
}

function readPaint(element: HTMLElement, head: HTMLElement): Paint {
  const style = getComputedStyle(element);
  const read = (name: string) => style.getPropertyValue(name).trim();
  return {
    up: read('--up'),
    down: read('--down'),
    flat: read('--dim'),
    flashUp: read('--flash-up'),
    flashDown: read('--flash-down'),
    calm: matchMedia('(prefers-reduced-motion: reduce)').matches,
    fits: readFits(head, `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`),
  };
}

// What has place in each column of prices. Digits are as wide as each other in our fonts, so a text
// is as wide as its characters.
function readFits(head: HTMLElement, font: string): Paint['fits'] {
  const context = document.createElement('canvas').getContext('2d');
  if (context !== null) context.font = font;
  const widths = new Map<string, number>();
  const widthOf = (character: string) => {
    const known = widths.get(character) ?? context?.measureText(character).width ?? 0;
    widths.set(character, known);
    return known;
  };
  const fits = (space: number) => (text: string) => {
    let width = 0;
    for (const each of text) width += widthOf(each);
    return width <= space;
  };
  const all = { last: fits(0), change: fits(0), percent: fits(0), high: fits(0), low: fits(0) };
  for (const cell of head.children) {
    const key = COLUMNS.find(({ key }) => cell.classList.contains(key))?.key;
    if (key === undefined || !isPriceKey(key)) continue;
    const { paddingLeft, paddingRight } = getComputedStyle(cell);
    all[key] = fits(cell.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight));
  }
  return all;
}
