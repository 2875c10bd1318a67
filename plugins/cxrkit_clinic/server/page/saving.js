// Masks on their way to the dataset. Each is kept in this browser until the server has written it, and sent again until
// then: a server that is away, a full disk or a closed tab loses no stroke.

import * as api from "./api.js";

const LONGEST_PAUSE = 15_000;

export class Saver {
  // `onchange` is called with a state, a word for it, and what to tell the user of a problem; `onsaved` with a mask's
  // new state, `onconflict` where somebody else saved the mask in between: it resolves to whether ours is kept.
  constructor(dataset, { onchange, onsaved, onconflict }) {
    this.prefix = `cxrkit:${dataset}:`;
    this.waiting = new Map();
    this.unanswered = new Map(); // sent, and perhaps written, although the answer didn't arrive
    this.onchange = onchange;
    this.onsaved = onsaved;
    this.onconflict = onconflict;
    this.problem = "";
    this.unkept = new Set();
    this.pause = 1000;
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(this.prefix)) this.waiting.set(key, JSON.parse(localStorage.getItem(key)));
    }
    addEventListener("beforeunload", (event) => {
      if (this.unkept.size) event.preventDefault();
    });
    addEventListener("online", () => this.flush());
    if (this.waiting.size) this.flush();
  }

  // A mask of this film that isn't saved yet.
  pending(film, structure) {
    return this.waiting.get(`${this.prefix}${film}:${structure}`);
  }

  put(film, structure, change) {
    const key = `${this.prefix}${film}:${structure}`;
    const before = this.waiting.get(key);
    // What was sent and isn't answered yet may become a revision, which `send` then enters here.
    const entry = { ...change, film, structure, base: before ? before.base : change.base };
    this.waiting.delete(key);
    this.waiting.set(key, entry);
    try {
      localStorage.setItem(key, JSON.stringify(entry));
      this.unkept.delete(key);
    } catch {
      this.unkept.add(key); // the browser's own storage is full: it stays in this tab
    }
    this.tell();
    this.flush();
  }

  drop(key) {
    this.waiting.delete(key);
    this.unkept.delete(key);
    localStorage.removeItem(key);
  }

  async flush() {
    clearTimeout(this.timer);
    if (this.sending) return;
    this.sending = true;
    const refused = new Map(); // films that can't be saved don't keep others waiting
    try {
      for (let next; (next = [...this.waiting].find(([, entry]) => !refused.has(entry))); ) {
        const [key, entry] = next;
        await this.send(key, this.unanswered.get(key) ?? entry).catch((error) => {
          if (!api.isOfFilm(error)) throw error;
          this.unanswered.delete(key);
          refused.set(entry, error);
        });
      }
      for (const error of refused.values()) throw error;
      this.problem = "";
      this.pause = 1000;
    } catch (error) {
      this.problem = error.message;
      this.timer = setTimeout(() => this.flush(), this.pause);
      this.pause = Math.min(LONGEST_PAUSE, this.pause * 2);
    }
    this.sending = false;
    this.tell();
  }

  async send(key, entry) {
    const { film, structure, ...change } = entry;
    this.unanswered.set(key, entry);
    try {
      const state = await api.save(film, structure, change);
      this.unanswered.delete(key);
      this.onsaved(film, structure, state);
      if (this.waiting.get(key) === entry) this.drop(key);
      else this.waiting.get(key).base = state.revision; // drawn on in the meantime
    } catch (error) {
      if (error.status !== 409) throw error;
      this.unanswered.delete(key);
      const latest = this.waiting.get(key);
      if (await this.onconflict(film, structure, error)) latest.base = error.body.current.revision;
      else this.drop(key);
    }
    this.tell();
  }

  tell() {
    const count = this.waiting.size;
    if (!count) this.onchange("saved", "All saved", "");
    else if (!this.problem) this.onchange("saving", "Saving …", "");
    else {
      const kept = this.unkept.size ? "Keep this tab open" : "Kept in this browser";
      this.onchange("problem", "Not saved yet", `Not saved yet (${count}): ${this.problem} ${kept}; it is tried again.`);
    }
  }
}
