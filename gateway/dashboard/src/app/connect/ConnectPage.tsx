import { useEffect, useRef, useState } from 'react';

import { run } from './run';
import { snippets, type Snippet } from './snippets';

const MAX_LINES = 12;

export function ConnectPage({ symbol }: { readonly symbol: string }) {
  // The page is at the root of the gateway, which may be under a path prefix.
  const host = location.host + location.pathname.replace(/\/[^/]*$/, '');
  const place = { host, secure: location.protocol === 'https:', symbol };
  return (
    <div className="connect">
      <header>
        <h1>Connect</h1>
        <p>
          The same numbers at every endpoint, for <strong>{symbol}</strong>. All calls can also be tried
          in the <a href="docs">API docs</a> and in <a href="graphiql">GraphiQL</a>.
        </p>
      </header>
      <div className="cards">
        {snippets(place).map((snippet) => (
          <Card key={snippet.id + symbol} snippet={snippet} symbol={symbol} />
        ))}
      </div>
    </div>
  );
}

function Card({ snippet, symbol }: { readonly snippet: Snippet; readonly symbol: string }) {
  const [copied, setCopied] = useState('');
  const [lines, setLines] = useState<readonly string[] | null>(null);
  const end = useRef<(() => void) | null>(null);
  useEffect(() => () => end.current?.(), []);

  async function copy() {
    try {
      await navigator.clipboard.writeText(snippet.code);
      setCopied('Copied');
    } catch {
      // Not allowed, or the page came by plain HTTP from another machine.
      setCopied('Select the text and copy it');
    }
    setTimeout(() => setCopied(''), 2_000);
  }

  function toggle() {
    if (end.current !== null) {
      end.current();
      end.current = null;
      setLines(null);
    } else if (snippet.run !== null) {
      setLines([]);
      end.current = run(snippet.run, symbol, (line) =>
        setLines((before) => [...(before ?? []), line].slice(-MAX_LINES)),
      );
    }
  }

  return (
    <section className="panel card" aria-labelledby={`snippet-${snippet.id}`}>
      <div className="bar">
        <h2 id={`snippet-${snippet.id}`}>{snippet.title}</h2>
        <span role="status" className="dim">
          {copied}
        </span>
        <button type="button" onClick={() => void copy()} aria-label={`Copy: ${snippet.title}`}>
          Copy
        </button>
        {snippet.run !== null && (
          <button
            type="button"
            className={lines === null ? 'primary' : ''}
            onClick={toggle}
            aria-label={`${lines === null ? 'Run it here' : 'Stop'}: ${snippet.title}`}
          >
            {lines === null ? 'Run it here' : 'Stop'}
          </button>
        )}
      </div>
      <p className="dim">{snippet.about}</p>
      <pre tabIndex={0} aria-label={`${snippet.title}, ${snippet.language}`}>
        <code>{snippet.code}</code>
      </pre>
      {lines !== null && (
        <pre className="output" tabIndex={0} aria-label={`What ${snippet.title} answers`}>
          {lines.length === 0 ? 'Waiting…' : lines.join('\n')}
        </pre>
      )}
    </section>
  );
}
