// Fills <target>/dashboard: the pages, and the client for others as one ES module.
// Called by scripts/assets.py, which empties the folder named by the one argument before.

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'vite';

const root = dirname(fileURLToPath(import.meta.url));
const [target] = process.argv.slice(2);
const outDir = join(target, 'dashboard');
const shared = { root, configFile: false, logLevel: 'warn' };

await build({
  ...shared,
  base: '/static/dashboard/',
  // The gateway puts its path prefix into pages; scripts find their parts from where they are.
  experimental: { renderBuiltUrl: (_, { hostType }) => hostType === 'html' ? undefined : { relative: true } },
  build: {
    outDir,
    emptyOutDir: true,
    target: 'es2022',
    // Nothing is written into the page that its Content-Security-Policy forbids.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: { index: join(root, 'index.html'), collab: join(root, 'collab.html') },
    },
  },
});

await build({
  ...shared,
  publicDir: false,
  build: {
    outDir,
    emptyOutDir: false,
    target: 'es2022',
    lib: {
      entry: join(root, 'src/client/index.ts'),
      formats: ['es'],
      fileName: () => 'marketdata-client.js',
    },
  },
});
