import { Suspense, lazy, useCallback, useEffect, useLayoutEffect, useState } from 'react';
import { Route, Routes, matchPath, useLocation } from 'react-router';
import { unauthorized, useApi } from '../api/client';
import { useToasts } from '../config/toasts';
import { text } from '../text';
import { Login } from './Login';
import { Shell } from './Shell';
import { Boundary, Empty, Loading, Problem } from './states';

const OverviewPage = lazy(() => import('../pages/OverviewPage'));
const GraphPage = lazy(() => import('../graph/GraphPage'));
const ItemsPage = lazy(() => import('../pages/ItemsPage'));
const ConfigPage = lazy(() => import('../pages/ConfigPage'));
const MeshPage = lazy(() => import('../pages/MeshPage'));
const ExplainPage = lazy(() => import('../explain/ExplainPage'));
const ObjectPage = lazy(() => import('../config/ObjectPage'));
const CreatePage = lazy(() => import('../config/CreatePage'));
const ObjectFormPage = lazy(() => import('../wizards/ObjectFormPage'));
const ObservedPage = lazy(() => import('../wizards/ObservedPage'));
const TrafficPage = lazy(() => import('../wizards/TrafficPage'));
const Palette = lazy(() => import('./Palette'));
const Toasts = lazy(() => import('../config/Toasts'));
const DetailsPage = lazy(() => import('../details/DetailsPage'));
const NamespacePage = lazy(() => import('../details/NamespacePage'));
const NamespacesPage = lazy(() => import('../details/NamespacesPage'));

/** The pages, by path: the navigation and the routes are made from these. */
export const PAGES = [
  { path: '/', title: text.shell.overview, element: <OverviewPage /> },
  { path: '/graph', title: text.shell.graph, element: <GraphPage /> },
  { path: '/namespaces', title: text.namespaces.label, element: <NamespacesPage /> },
  {
    path: '/applications',
    title: text.shell.applications,
    element: <ItemsPage key="apps" path="/api/apps" title={text.shell.applications} />,
  },
  {
    path: '/workloads',
    title: text.shell.workloads,
    element: <ItemsPage key="workloads" path="/api/workloads" title={text.shell.workloads} />,
  },
  { path: '/services', title: text.shell.services, element: <ItemsPage key="services" path="/api/services" title={text.shell.services} /> },
  { path: '/config', title: text.shell.config, element: <ConfigPage /> },
  { path: '/explain', title: text.shell.explain, element: <ExplainPage /> },
  { path: '/mesh', title: text.shell.mesh, element: <MeshPage /> },
];

/** Pages of single objects, which the navigation does not list. `of`: the page that lists them. */
const DETAILS = [
  { path: '/config/new', of: '/config', element: <CreatePage /> },
  { path: '/config/new/observed', of: '/config', element: <ObservedPage /> },
  { path: '/config/new/:form', of: '/config', element: <ObjectFormPage /> },
  { path: '/config/:kind/:namespace/:name', of: '/config', element: <ObjectPage /> },
  { path: '/config/:kind/:namespace/:name/form', of: '/config', element: <ObjectFormPage /> },
  { path: '/services/:namespace/:name/traffic', of: '/services', element: <TrafficPage /> },
  { path: '/applications/:namespace/:name', of: '/applications', element: <DetailsPage kind="app" /> },
  { path: '/workloads/:namespace/:name', of: '/workloads', element: <DetailsPage kind="workload" /> },
  { path: '/services/:namespace/:name', of: '/services', element: <DetailsPage kind="service" /> },
  { path: '/namespaces/:name', of: '/namespaces', element: <NamespacePage /> },
];

/** The listed page that a path belongs to. */
const pageOf = (pathname: string) => {
  const detail = DETAILS.find(({ path }) => matchPath(path, pathname));
  return PAGES.find(({ path }) => path === (detail?.of ?? pathname));
};

export function App() {
  const session = useApi('/api/session');
  const { pathname } = useLocation();
  const page = pageOf(pathname);
  const toasts = useToasts();
  // Before the effects of a page that names itself.
  useLayoutEffect(() => {
    document.title = `${page?.title ?? text.shell.notFound} · ${text.product}`;
  }, [page, pathname]);
  const [palette, setPalette] = useState(false);
  useKeys(useCallback(() => setPalette(true), []));
  if (unauthorized(session.error)) return <Login />;
  if (!session.data)
    return session.error ? <Problem error={session.error} retry={() => void session.refetch()} /> : <Loading words={text.login.checking} />;
  return (
    <Shell user={session.data} pages={PAGES} current={page?.path ?? ''}>
      <Boundary key={pathname}>
        <Suspense fallback={<Loading />}>
          <Routes>
            {[...PAGES, ...DETAILS].map(({ path, element }) => (
              <Route key={path} path={path} element={element} />
            ))}
            <Route path="*" element={<Empty title={text.shell.notFound} words={text.shell.notFoundFix} />} />
          </Routes>
        </Suspense>
      </Boundary>
      <Suspense fallback={null}>{palette && <Palette pages={PAGES} onClose={() => setPalette(false)} />}</Suspense>
      <Suspense fallback={null}>{toasts.length > 0 && <Toasts toasts={toasts} />}</Suspense>
    </Shell>
  );
}

/** `/` goes to the page's search box, Ctrl-K opens the palette. */
function useKeys(open: () => void): void {
  useEffect(() => {
    const focus = (event: KeyboardEvent): void => {
      if (event.key === 'k' && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        open();
      }
      const target = event.target as HTMLElement;
      if (event.key !== '/' || event.ctrlKey || event.metaKey || target.closest('input, textarea, select')) return;
      const box = document.querySelector<HTMLInputElement>('[data-search] input, input[data-search]');
      if (box) {
        event.preventDefault();
        box.focus();
      }
    };
    document.addEventListener('keydown', focus);
    return () => document.removeEventListener('keydown', focus);
  }, [open]);
}
