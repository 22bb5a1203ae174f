// Light or dark: as the system says, unless a person chose.

export type Theme = 'light' | 'dark';

const KEY = 'market-data.theme';
const dark = matchMedia('(prefers-color-scheme: dark)');
const listeners = new Set<() => void>();

function chosen(): Theme | null {
  const stored = localStorage.getItem(KEY);
  return stored === 'light' || stored === 'dark' ? stored : null;
}

export function theme(): Theme {
  return chosen() ?? (dark.matches ? 'dark' : 'light');
}

export function toggleTheme(): void {
  localStorage.setItem(KEY, theme() === 'dark' ? 'light' : 'dark');
  apply();
}

export function onTheme(listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

export function apply(): void {
  document.documentElement.dataset['theme'] = theme();
  listeners.forEach((listener) => listener());
}

dark.addEventListener('change', apply);
