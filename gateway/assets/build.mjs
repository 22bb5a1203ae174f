// Fills gateway/static with what the gateway's pages load, from the packages installed here.
// Called by scripts/assets.py, which empties the folder named by the one argument before.

import { copyFile, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const [target] = process.argv.slice(2);

// Files that packages bring ready for a browser: where they lie, and what we call them.
const COPIES = {
  'sockjs-client/dist/sockjs.min.js': 'sockjs.min.js',
};

for (const [source, name] of Object.entries(COPIES)) {
  const file = join(target, name);
  await mkdir(dirname(file), { recursive: true });
  await copyFile(join(here, 'node_modules', source), file);
}
