import { useEffect, useState } from 'react';
import { client, queryOf, scope, useApi } from '../api/client';
import type { Graph, GraphDelta } from '../api/contract.gen';
import type { Options } from '../options';
import { whileVisible } from '../whileVisible';
import { apply } from './delta';

const STREAMED = 5; // the server looks for changes every 5 s; slower refreshes poll
const FIRST_MS = 10_000;
const AGAIN_MS = 30_000;

export type Freshness = 'live' | 'polling' | 'paused';

/** The traffic graph of the options, kept up to date: by the stream of changes, or by polling where there is none. */
export function useGraph(options: Options) {
  const parameters = { ...scope(options), type: options.type, services: options.services, idle: options.idle, at: options.at };
  const query = queryOf(parameters);
  const streamed = options.refresh === STREAMED && !options.at;
  const [failed, setFailed] = useState(false);
  const polled = !streamed || failed;
  const graph = useApi('/api/graph', parameters, options.at ? 0 : options.refresh, polled);
  useEffect(() => {
    if (!streamed) return;
    return follow(query, ['/api/graph', parameters], setFailed);
    // The query holds all of the parameters.
  }, [query, streamed]);
  const freshness: Freshness = options.refresh === 0 || options.at ? 'paused' : polled ? 'polling' : 'live';
  return { ...graph, freshness };
}

/** Writes the stream's graphs into the cache until the returned function is called. `setFailed`: whether the stream is down. */
function follow(query: string, key: unknown[], setFailed: (failed: boolean) => void): () => void {
  let source: EventSource | null = null;
  let timer = 0;
  const fail = (): void => {
    source?.close();
    setFailed(true);
    timer = window.setTimeout(open, AGAIN_MS);
  };
  const open = (): void => {
    window.clearTimeout(timer);
    source?.close();
    source = new EventSource(`/api/graph/events?${query}`);
    timer = window.setTimeout(fail, FIRST_MS);
    source.addEventListener('graph', (event) => {
      window.clearTimeout(timer);
      client.setQueryData(key, JSON.parse(event.data as string) as Graph);
      setFailed(false);
    });
    source.addEventListener('delta', (event) => {
      const now = client.getQueryData<Graph>(key);
      const next = now && apply(now, JSON.parse(event.data as string) as GraphDelta);
      if (next) client.setQueryData(key, next);
      else open();
    });
    source.onerror = () => {
      window.clearTimeout(timer);
      fail();
    };
  };
  const stop = (): void => {
    window.clearTimeout(timer);
    source?.close();
  };
  return whileVisible(open, stop);
}
