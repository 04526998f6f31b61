import { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { useSearchParams } from 'react-router';
import { type Options, parse, write } from './options';

export type Change = (change: Partial<Options>, replace?: boolean) => void;

/** The options of the page, and how to change them. `replace` makes no entry in the history: for text that is being typed. */
export function useOptions(): [Options, Change] {
  const [query, setQuery] = useSearchParams();
  const options = useMemo(() => parse(query), [query]);
  // What the browser shows is newer than the last render when two changes come at once.
  const change = useCallback<Change>(
    (part, replace = false) => setQuery(write(new URLSearchParams(window.location.search), part), { replace }),
    [setQuery],
  );
  return [options, change];
}

const PAUSE_MS = 200;

/** Text that is being typed, and how to change it: the box has it at once, `commit` after a pause, so that the page does not search
 * with every key. */
export function useTyped(value: string, commit: (value: string) => void): [string, (typed: string) => void] {
  const [typed, setTyped] = useState(value);
  const timer = useRef(0);
  useEffect(() => {
    if (!timer.current) setTyped(value);
  }, [value]);
  useEffect(() => () => window.clearTimeout(timer.current), []);
  const type = (next: string): void => {
    setTyped(next);
    window.clearTimeout(timer.current);
    timer.current = window.setTimeout(() => {
      timer.current = 0;
      commit(next);
    }, PAUSE_MS);
  };
  return [typed, type];
}
