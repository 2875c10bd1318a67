// Requests to the server that this page came from.

export class Refused extends Error {
  constructor(status, body) {
    super([body.what, body.remedy].filter(Boolean).join(" ") || `The server answered ${status}.`);
    this.status = status;
    this.body = body;
  }
}

// Whether the film is at fault, rather than the server or the way to it.
export const isOfFilm = (error) => [200, 404, 413, 415, 422].includes(error.status);

// The token lasts as long as the tab: it may stand in the address, as #token=…, which no server ever sees.
const TOKEN = "cxrkit-token";
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(TOKEN, given);
  history.replaceState(null, "", location.pathname);
}

let askForToken = async () => null;

export function onToken(ask) {
  askForToken = ask;
}

async function request(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    const response = await fetch(path, { ...options, headers });
    if (response.ok) return response;
    if (response.status === 401) {
      const answer = await askForToken(Boolean(token));
      if (answer) {
        sessionStorage.setItem(TOKEN, answer);
        continue;
      }
    }
    const body = await response.json().catch(() => ({}));
    if (response.status === 429 && !options.once) {
      const pause = Number(response.headers.get("Retry-After") || 1);
      await new Promise((resolve) => setTimeout(resolve, 1000 * pause * (0.5 + Math.random())));
      continue;
    }
    throw new Refused(response.status, body.failures?.[0] ?? body);
  }
}

// A film that can't be used is a failure, whatever the status.
async function body(response) {
  const answer = await response.json();
  if (answer.failures?.length) throw new Refused(response.status, answer.failures[0]);
  return answer;
}

const json = async (path, options) => body(await request(path, options));

const sent = (method, body) => ({
  method,
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});

function form(file) {
  const data = new FormData();
  data.append("film", file, file.name);
  return { method: "POST", body: data };
}

const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

// A picture: the length of a header, the header, the pixels.
async function picture(asked) {
  const response = await asked;
  if (response.headers.get("Content-Type").startsWith("application/json")) return body(response);
  const buffer = await response.arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const pixels = new (header.bits === 16 ? Uint16Array : Uint8Array)(buffer, 4 + length);
  if (header.bits === 16 && !littleEndian) {
    for (let i = 0; i < pixels.length; i++) pixels[i] = (pixels[i] >> 8) | (pixels[i] << 8);
  }
  return { ...header, pixels };
}

export const info = () => json("/v1/info");
export const films = () => json("/v1/films");

const path = (film, what) => `/v1/films/${encodeURIComponent(film.id)}/${what}`;

export const pictureOf = (film) =>
  picture(film.file ? request("/v1/picture", form(film.file)) : request(path(film, "picture")));
export const masksOf = (film) =>
  film.file ? json("/v1/segment?runs=true", form(film.file)) : json(path(film, "masks"));
export const measuresOf = (film) => json(path(film, "measures"));
export const meet = (film, session, who) => json(path(film, "presence"), sent("POST", { session, who }));
export const save = (id, structure, change) =>
  json(`/v1/films/${encodeURIComponent(id)}/masks/${encodeURIComponent(structure)}`, { ...sent("PUT", change), once: true });
