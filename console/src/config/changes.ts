/** Sends changes, and remembers what came of them for the toasts. */
import { ApiProblem, client, post } from '../api/client';
import type { Applied, Change } from '../api/contract.gen';
import { text } from './text';
import { show } from './toasts';

/** Applies a change, or tries it; null if the server did not answer, which a toast says. */
export async function apply(change: Change, undoing = false): Promise<Applied | null> {
  let applied: Applied;
  try {
    applied = await post('/api/config/apply', change);
  } catch (error) {
    const words = error instanceof ApiProblem ? [error.message, error.fix].filter(Boolean) : [String(error)];
    show({ good: false, title: text.editor.failed, words });
    return null;
  }
  if (applied.done.length && !change.dryRun) {
    const { undo, stopped } = applied;
    show({
      good: !stopped,
      title: stopped ? text.editor.partly : undoing ? text.editor.undone : text.editor.done,
      words: [...applied.done, ...(stopped ? [stopped] : [])],
      ...(undo && !undoing ? { action: { title: text.editor.undo, run: () => void apply(undo, true) } } : {}),
    });
    await client.invalidateQueries();
  } else if (!applied.done.length && undoing) {
    show({ good: false, title: text.editor.failed, words: applied.markers.map((marker) => marker.text) });
  }
  return applied;
}
