/** ELK in its worker. The worker's messages are `{id, cmd, …}` there and `{id, data | error}` back; elkjs has a client of its own for
 * them, which is a good part of the route's budget for these few lines. */
import type { ElkNode } from 'elkjs/lib/elk-api.js';
import workerUrl from 'elkjs/lib/elk-worker.min.js?url';

interface Answer {
  id: number;
  data?: ElkNode;
  error?: { message?: string };
}

let worker: Worker | null = null;
let last = 0;
const waiting = new Map<number, { resolve: (graph: ElkNode) => void; reject: (error: Error) => void }>();

/** The graph with places. Rejects if ELK cannot place it. */
export function solve(graph: ElkNode): Promise<ElkNode> {
  worker ??= begin();
  last += 1;
  const id = last;
  worker.postMessage({ id, cmd: 'layout', graph, layoutOptions: {}, options: {} });
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

function begin(): Worker {
  const started = new Worker(workerUrl);
  started.onmessage = ({ data }: MessageEvent<Answer>) => {
    const one = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.data) one?.resolve(data.data);
    else one?.reject(new Error(data.error?.message ?? 'ELK has no answer'));
  };
  started.onerror = (event) => {
    for (const one of waiting.values()) one.reject(new Error(event.message));
    waiting.clear();
    worker = null; // the next graph starts another
  };
  started.postMessage({ id: 0, cmd: 'register', algorithms: ['layered'] });
  return started;
}
