// Elements of the page. Texts are only ever set as text.

export const byId = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// Show a dialog; the value of the button that closed it, "" where it was dismissed.
export function ask(dialog) {
  return new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
    dialog.showModal();
  });
}

export function download(name, content, kind) {
  const address = URL.createObjectURL(new Blob([content], { type: kind }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

export const label = (structure) => structure.replaceAll("_", " ");

// Say something for a moment, over the film.
export function say(text) {
  byId("message").textContent = text;
  byId("message").hidden = !text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => (byId("message").hidden = true), 6000);
}

// Say what is waited for.
export function busy(text) {
  byId("busy").textContent = text;
  byId("busy").hidden = !text;
  byId("screen").setAttribute("aria-busy", String(Boolean(text)));
}
