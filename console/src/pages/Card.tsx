import type { ReactNode } from 'react';
import { Words } from '../shell/states';

export function Card({ title, children, wide = false }: { title: string; children: ReactNode; wide?: boolean }) {
  return (
    <section className={wide ? 'sc-card sc-wide' : 'sc-card'}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}

export function Note({ children }: { children: string }) {
  return (
    <p className="sc-where">
      <Words>{children}</Words>
    </p>
  );
}
