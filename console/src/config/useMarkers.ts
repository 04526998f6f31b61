import { useEffect, useState } from 'react';
import { post } from '../api/client';
import type { Marker } from '../api/contract.gen';

const PAUSE_MS = 400;

/** What the server finds wrong in a text, a moment after it was typed. */
export function useMarkers(yaml: string, first: Marker[]): Marker[] {
  const [markers, setMarkers] = useState(first);
  useEffect(() => {
    let gone = false;
    const timer = window.setTimeout(() => {
      post('/api/config/check', { yaml, delete: [], dryRun: false })
        .then((found) => !gone && setMarkers(found))
        .catch(() => undefined); // an answer that does not come leaves the last markers
    }, PAUSE_MS);
    return () => {
      gone = true;
      window.clearTimeout(timer);
    };
  }, [yaml]);
  return markers;
}
