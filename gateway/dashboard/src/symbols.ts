// What a symbol is. Pure.

const VISIBLE = String.raw`[!#-)+\-.\/0-\[\]-~]`;
const PATTERN = new RegExp(String.raw`^${VISIBLE}(?:[ !#-)+\-.\/0-\[\]-~]{0,62}${VISIBLE})?$`);

/** Return whether `text` is a symbol: printable ASCII without blanks around it. */
export function isSymbol(text: string): boolean {
  return PATTERN.test(text);
}

/** Return the symbol that a person means by `text`; null: it is not one. Case counts. */
export function parseSymbol(text: string): string | null {
  const symbol = text.trim();
  return isSymbol(symbol) ? symbol : null;
}
