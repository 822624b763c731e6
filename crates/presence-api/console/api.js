// The service's API as this page calls it. The token travels in a header, never in an address.

/** Where the API is: the page lies at `console`, below it. */
export const BASE = new URL('..', import.meta.url);

/** An answer that is no success. `status` 0: there was no answer. */
export class ApiError extends Error {
  constructor(status, message, detail = '') {
    super(message);
    Object.assign(this, { status, detail });
  }
}

/** Calls with a token. `onLimits` is told what is left of the token's limit, `onInvalid` that it is no longer valid. */
export class Api {
  constructor(token, { onLimits = () => {}, onInvalid = () => {} } = {}) {
    Object.assign(this, { token, onLimits, onInvalid });
  }

  /** The answer's JSON and headers, with the time that it took in milliseconds. Throws an `ApiError`. */
  async call(method, path, { body, signal } = {}) {
    const began = performance.now();
    const response = await this.fetch(path, {
      method,
      signal,
      headers: body && { 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
    });
    const text = await response.text();
    const took = performance.now() - began;
    const answer = parse(text);
    if (!response.ok) {
      throw new ApiError(response.status, answer?.error?.message ?? text, response.headers.get('x-error-detail') ?? '');
    }
    return { status: response.status, answer, took, headers: response.headers };
  }

  async fetch(path, { headers, ...options } = {}) {
    // No header can carry it, so it is nobody's; the browser's error would look like a service that is away.
    if (!/^[\x20-\x7e]*$/.test(this.token)) throw new ApiError(401, 'Invalid token');
    let response;
    try {
      response = await fetch(new URL(path, BASE), {
        ...options,
        headers: { ...headers, token: this.token },
        cache: 'no-store',
        credentials: 'omit',
      });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new ApiError(0, 'unreachable');
    }
    // Creating instances has a limit of its own.
    if (path !== routes.create) this.noteLimits(response.headers);
    if (response.status === 401) this.onInvalid();
    return response;
  }

  noteLimits(headers) {
    const [limit, remaining, reset] = ['limit', 'remaining', 'reset'].map((name) => headers.get(`x-ratelimit-${name}`));
    if (limit !== null) {
      this.onLimits({ limit: Number(limit), remaining: Number(remaining), reset: Number(reset) * 1000 });
    }
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const path = (...parts) => parts.map(encodeURIComponent).join('/');

/** The routes that the page uses. */
export const routes = {
  list: 'api/instance/list',
  create: 'api/instance/new',
  connect: (name, number) => `api/instance/connect/${path(name)}${number ? `?number=${encodeURIComponent(number)}` : ''}`,
  reconnect: (name) => `api/instance/reconnect/${path(name)}`,
  logout: (name) => `api/instance/logout/${path(name)}`,
  remove: (name) => `api/instance/delete/${path(name)}`,
  settings: (name) => `api/instance/settings/${path(name)}`,
  presence: (name) => `api/chat/presence/${path(name)}`,
  events: 'api/events',
};
