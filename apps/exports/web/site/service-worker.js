// Lets the page open without a network: its small files are fetched anew where there is one, so that all are of one
// version, and taken from the last visit where there is none. The parts are kept by `scripts/parts.js`.

const scope = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const MODEL = 'model.json';

/** The store of this folder's page. */
const openCache = () => caches.open(`page of ${new URL(scope.registration.scope).pathname}`);

scope.addEventListener('install', (event) => event.waitUntil(keepPage().then(() => scope.skipWaiting())));
scope.addEventListener('activate', (event) => event.waitUntil(scope.clients.claim()));
scope.addEventListener('fetch', (event) => {
  const { method, url } = event.request;
  const isOurs = method === 'GET' && url.startsWith(scope.registration.scope);
  if (isOurs && !url.startsWith(`${scope.registration.scope}parts/`)) event.respondWith(respond(event.request));
});

async function keepPage() {
  const cache = await openCache();
  const { files } = await (await fetch(MODEL, { cache: 'no-cache' })).json();
  await cache.addAll(['./', MODEL, ...files].map((name) => new Request(name, { cache: 'no-cache' })));
}

/** @param {Request} request */
async function respond(request) {
  const cache = await openCache();
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}
