/** Turns what is typed in a wizard into values, and back. Pure. */
import type { HttpRule, Target, TrafficRules } from '../api/contract.gen';

/** `a, b` as a list. */
export const listOf = (typed: string): string[] =>
  typed
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean);

/** `app=reviews, version=v1` as labels; what has no `=` is not one yet. */
export function labelsOf(typed: string): Record<string, string> {
  const pairs = listOf(typed).flatMap((part) => {
    const at = part.indexOf('=');
    return at > 0 ? [[part.slice(0, at).trim(), part.slice(at + 1).trim()] as const] : [];
  });
  return Object.fromEntries(pairs);
}

export const textOfLabels = (labels: Record<string, string>): string =>
  Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(', ');

export const target = (host: string, subset = '', weight = 0): Target => ({ host, subset, port: 0, weight });

export const rule = (targets: Target[]): HttpRule => ({
  name: null,
  matches: [],
  targets,
  timeout: null,
  attempts: null,
  perTryTimeout: null,
  retryOn: null,
  delay: null,
  delayPercent: null,
  abortStatus: null,
  abortPercent: null,
  mirror: null,
  mirrorPercent: null,
});

/** Whole shares that are as even as can be, and 100 together. */
export function even(targets: readonly Target[]): Target[] {
  const share = Math.floor(100 / targets.length);
  return targets.map((one, index) => ({ ...one, weight: share + (index < 100 - share * targets.length ? 1 : 0) }));
}

export const sum = (targets: readonly Target[]): number => targets.reduce((total, one) => total + one.weight, 0);

/** Whether something keeps the rules from being applied: shares that are not 100 together. */
export function incomplete({ http, tcp }: TrafficRules): boolean {
  return [...http, ...tcp].some(({ targets }) => targets.length > 1 && sum(targets) !== 100);
}

/** A list with the item at an index replaced, or taken away. */
export const withItem = <Item>(items: readonly Item[], index: number, item: Item | null): Item[] =>
  items.flatMap((one, at) => (at !== index ? [one] : item === null ? [] : [item]));

/** A list with the item at an index one place earlier. */
export function earlier<Item>(items: readonly Item[], index: number): Item[] {
  const out = [...items];
  const [item] = out.splice(index, 1);
  if (item !== undefined) out.splice(Math.max(0, index - 1), 0, item);
  return out;
}
