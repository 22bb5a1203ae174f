// Fills gateway/static with what the gateway's pages load, from the packages installed here.
// Called by scripts/assets.py, which empties the folder named by the one argument before.

import { copyFile, mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'vite';

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const [target] = process.argv.slice(2);

// Files that packages bring ready for a browser: where they lie, and what we call them.
const COPIES = {
  'sockjs-client/dist/sockjs.min.js': 'sockjs.min.js',
};

for (const [source, name] of Object.entries(COPIES)) {
  const file = join(target, name);
  await mkdir(dirname(file), { recursive: true });
  await copyFile(require.resolve(source), file);
}

// Pages that are put together from packages: each is a folder here, with an index.html.
const PAGES = ['graphiql'];

for (const page of PAGES) {
  await build({
    root: join(here, page),
    base: `/static/${page}/`,
    configFile: false,
    // The gateway puts its path prefix into pages; scripts find their parts from where they are.
    experimental: { renderBuiltUrl: (_, { hostType }) => hostType === 'html' ? undefined : { relative: true } },
    logLevel: 'warn',
    worker: { format: 'es' },
    build: {
      outDir: join(target, page),
      emptyOutDir: true,
      // Monaco, the editor of GraphiQL, is 2.8 MB in one piece.
      chunkSizeWarningLimit: 4096,
      rolldownOptions: { onwarn: warn },
    },
  });
}

// "use client" and the like are for servers that render React; there are hundreds.
function warn(warning, tell) {
  if (warning.code !== 'MODULE_LEVEL_DIRECTIVE') tell(warning);
}
