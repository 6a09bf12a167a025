// Elements made by hand: text only ever becomes a text node, so nothing in the data can become markup.

/** An element. `properties`: attributes; `on…` listeners; `style`, custom properties; null and false are left out. */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [part, set] of Object.entries(value)) element.style.setProperty(part, set);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace what an element holds, keeping open what the reader had open and the focus where it was. */
export function replace(element, ...children) {
  const key = document.activeElement?.dataset.key;
  const open = [...element.querySelectorAll("details[open][data-key]")].map((details) => details.dataset.key);
  const scrolled = [...element.querySelectorAll("[data-scroll]")].map((box) => [box.dataset.scroll, box.scrollLeft, box.scrollTop]);
  element.replaceChildren(...children.flat(3).filter(Boolean));
  for (const details of element.querySelectorAll("details[data-key]")) {
    if (open.includes(details.dataset.key)) details.open = true;
  }
  for (const [name, left, top] of scrolled) {
    const box = element.querySelector(`[data-scroll="${CSS.escape(name)}"]`);
    if (box) [box.scrollLeft, box.scrollTop] = [left, top];
  }
  if (key && element !== document.activeElement) {
    element.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
  }
}
