/** Options of one tab, in the URL. */
import { useCallback, useMemo } from 'react';
import { useSearchParams } from 'react-router';

/** The parameters of the URL with these names, and how to change them; one with its default is not in the URL. `replace` makes no
 * entry in the history. `defaults` must not change. */
export function useParameters<T extends Record<string, string>>(defaults: T): [T, (change: Partial<T>, replace?: boolean) => void] {
  const [query, setQuery] = useSearchParams();
  const values = useMemo(
    () => Object.fromEntries(Object.entries(defaults).map(([name, value]) => [name, query.get(name) ?? value])) as T,
    [query, defaults],
  );
  const change = useCallback(
    (part: Partial<T>, replace = false) => {
      const next = new URLSearchParams(window.location.search);
      for (const [name, value] of Object.entries(part)) {
        if (value === undefined || value === defaults[name]) next.delete(name);
        else next.set(name, value);
      }
      setQuery(next, { replace });
    },
    [setQuery, defaults],
  );
  return [values, change];
}
