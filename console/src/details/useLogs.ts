import { useEffect, useState } from 'react';
import { queryOf, useApi } from '../api/client';
import type { LogLine, LogLines } from '../api/contract.gen';
import { whileVisible } from '../whileVisible';
import { joined } from './lines';

const AGAIN_MS = 5000;

interface Shown {
  lines: LogLine[];
  containers: string[];
  problems: string[];
}

/** Lines of logs: read once, and then followed if `live`. `following`: whether the server sends them now. */
export function useLogs(parameters: Record<string, string | number>, most: number, live: boolean) {
  const answer = useApi('/api/logs', parameters, 0);
  const query = queryOf(parameters);
  const [followed, setFollowed] = useState<(Shown & { query: string }) | null>(null);
  const [following, setFollowing] = useState(false);
  const ready = Boolean(answer.data) && !answer.error;
  useEffect(() => {
    if (!live || !ready) return;
    let source: EventSource | null = null;
    let timer = 0;
    const open = (): void => {
      source = new EventSource(`/api/logs/events?${query}`);
      source.addEventListener('lines', (event) => {
        const { lines, containers, problems } = JSON.parse(event.data as string) as LogLines;
        setFollowing(true);
        // The first event of a connection has the names of the containers; what follows begins anew.
        if (containers.length) setFollowed({ query, lines: [], containers, problems });
        else setFollowed((before) => before && { ...before, problems, lines: joined(before.lines, lines, most) });
      });
      source.onerror = () => {
        setFollowing(false);
        if (source?.readyState === EventSource.CLOSED) timer = window.setTimeout(open, AGAIN_MS);
      };
    };
    const stop = (): void => {
      window.clearTimeout(timer);
      source?.close();
      setFollowing(false);
    };
    return whileVisible(open, stop);
  }, [live, ready, query, most]);
  const current = followed?.query === query && followed.lines.length > 0 ? followed : answer.data;
  return { ...answer, shown: current, following };
}
