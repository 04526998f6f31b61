import { STATUS_MARKS } from '../shell/marks';

/** The outlines of nodes in a square of 44, by kind. Pure: the canvas, the legend and the SVG file draw the same. */
export const SHAPES: Record<string, string> = {
  workload: 'M22 2a20 20 0 1 1 0 40a20 20 0 1 1 0-40z',
  app: 'M8 3h28a5 5 0 0 1 5 5v28a5 5 0 0 1-5 5H8a5 5 0 0 1-5-5V8a5 5 0 0 1 5-5z',
  service: 'M22 2.5L43 40H1z',
  serviceEntry: 'M9 6h26l8 32H1z',
  unknown: 'M22 1l21 21-21 21L1 22z',
  namespace: 'M12 2h30v30h-6v6h-4v4H2V12h4V8h6z',
};

/** The sign of a kind, in the middle of its shape. */
export const SIGNS: Record<string, string> = {
  workload: 'W',
  app: 'A',
  service: 'S',
  serviceEntry: 'E',
  unknown: '?',
  namespace: '',
};

/** Small pictures, each in a square of 16: badges and health marks. */
export const MARKS: Record<string, string> = {
  ...STATUS_MARKS,
  circuitBreaker: 'M9 1L3 9h4l-1 6 7-9H8z',
  faultInjection: 'M8 1l7 14H1zM7.2 6h1.6v5H7.2zM7.2 12h1.6v1.6H7.2z',
  gateway: 'M2 15V7a6 6 0 0 1 12 0v8h-3V7a3 3 0 0 0-6 0v8z',
  mirroring: 'M7 3v10L1 8zM9 3v10l6-5z',
  missingSidecar: 'M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zM3.5 7h9v2h-9z',
  requestTimeout: 'M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zM7.2 4h1.6v3.6l2.6 2.6-1.1 1.1-3.1-3.1z',
  trafficShifting: 'M1 7h5l5-4V1l4 3.5L11 8V5.5L7 8.8 11 11V9l4 3-4 3v-2L6 9H1z',
  requestRouting: 'M1 7h6V3h4V1l4 3-4 3V5H9v6h2V9l4 3-4 3v-2H7V9H1z',
  trafficSource: 'M1 7h9V3l5 5-5 5V9H1z',
  workloadEntry: 'M2 2h12v4H2zM2 10h12v4H2zM7 6h2v4H7z',
  lock: 'M8 1a4 4 0 0 0-4 4v2H3v8h10V7h-1V5a4 4 0 0 0-4-4zM6 7V5a2 2 0 1 1 4 0v2z',
};
