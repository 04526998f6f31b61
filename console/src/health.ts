/** Health statuses: their order, colour and words. Pure; the server decides them. */
import type { Health, Judgement } from './api/contract.gen';
import { percent, rate } from './format';
import { text } from './text';

export type Status = Health['status'];

/** The worst first. */
export const STATUSES: readonly Status[] = ['Failure', 'Degraded', 'NotReady', 'Healthy', 'NA'];

export function worst(statuses: Iterable<Status>): Status {
  let index = STATUSES.length - 1;
  for (const status of statuses) index = Math.min(index, STATUSES.indexOf(status));
  return STATUSES[index] ?? 'NA';
}

/** One judgement in words: the rule, the share, the thresholds and the window. */
export function inWords(judgement: Judgement, window: string): string {
  return text.health.judgement({
    direction: text.health.direction[judgement.direction] ?? judgement.direction,
    protocol: judgement.protocol,
    codes: text.health.codes(judgement.codes),
    share: percent(judgement.share),
    rate: rate(judgement.rate),
    window,
    degraded: judgement.degradedFrom > 0 ? percent(judgement.degradedFrom) : '',
    failure: judgement.failureFrom > 0 ? percent(judgement.failureFrom) : '',
  });
}

/** Why a health is what it is, in words; the judgements that made it so come first. */
export function why(health: Health): { status: Status; words: string }[] {
  const out = health.judgements.map((judgement) => ({ status: judgement.status, words: inWords(judgement, health.window) }));
  if (health.replicas) out.push({ status: health.replicasStatus, words: text.health.replicas(health.replicas) });
  if (!out.length) out.push({ status: health.status, words: text.health.nothing(health.window) });
  return out.sort((a, b) => STATUSES.indexOf(a.status) - STATUSES.indexOf(b.status));
}
