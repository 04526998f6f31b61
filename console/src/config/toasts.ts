/** What has just happened, for the toasts. Holds no elements, so that the shell can look at it without loading them. */
import { useSyncExternalStore } from 'react';

export interface Toast {
  id: number;
  good: boolean;
  title: string;
  words: string[];
  action?: { title: string; run: () => void };
}

const MOST = 3;
let toasts: Toast[] = [];
let number = 0;
const listeners = new Set<() => void>();

function set(next: Toast[]): void {
  toasts = next;
  listeners.forEach((listener) => listener());
}

export function show(toast: Omit<Toast, 'id'>): void {
  number += 1;
  set([...toasts.slice(1 - MOST), { ...toast, id: number }]);
}

export const close = (id: number): void => set(toasts.filter((one) => one.id !== id));

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const useToasts = (): Toast[] => useSyncExternalStore(subscribe, () => toasts);
