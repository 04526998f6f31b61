import type { Status } from '../health';

/** The marks of health statuses, each in a square of 16: no status is told by its colour alone. */
export const STATUS_MARKS: Record<Status, string> = {
  Failure: 'M8 0a8 8 0 1 0 0 16A8 8 0 0 0 8 0zM7 3.5h2v5.5H7zM7 10.5h2v2H7z',
  Degraded: 'M8 1l7.5 14H.5zM7.2 6h1.6v4.6H7.2zM7.2 11.6h1.6v1.8H7.2z',
  NotReady: 'M8 0a8 8 0 1 0 0 16A8 8 0 0 0 8 0zM4.5 4h2.2v8H4.5zM9.3 4h2.2v8H9.3z',
  Healthy: 'M8 0a8 8 0 1 0 0 16A8 8 0 0 0 8 0zM6.8 11.8L3.2 8.3l1.2-1.2 2.4 2.3 4.9-5 1.2 1.2z',
  NA: 'M8 0a8 8 0 1 0 0 16A8 8 0 0 0 8 0zM4 7h8v2H4z',
};
