/** Light or dark: what the user has chosen, or else what the system says. */
import { useEffect, useState } from 'react';

export type Theme = 'light' | 'dark';

const KEY = 'sailcloth-theme';
const system = window.matchMedia('(prefers-color-scheme: dark)');

function chosen(): Theme | null {
  const value = localStorage.getItem(KEY);
  return value === 'light' || value === 'dark' ? value : null;
}

const current = (): Theme => chosen() ?? (system.matches ? 'dark' : 'light');

export function applyTheme(): Theme {
  const theme = current();
  document.documentElement.classList.toggle('pf-v6-theme-dark', theme === 'dark');
  document.documentElement.style.colorScheme = theme;
  return theme;
}

export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState(current);
  useEffect(() => {
    const follow = (): void => setTheme(applyTheme());
    system.addEventListener('change', follow);
    return () => system.removeEventListener('change', follow);
  }, []);
  const toggle = (): void => {
    const next = theme === 'dark' ? 'light' : 'dark';
    if (next === (system.matches ? 'dark' : 'light')) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
    setTheme(applyTheme());
  };
  return [theme, toggle];
}
