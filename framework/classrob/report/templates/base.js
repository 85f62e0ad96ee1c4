// What the page's scripts share: finding and making elements, light and dark, the tip beside the pointer.
"use strict";
const report = (() => {
  const root = document.documentElement;
  const find = (selector, node = document) => node.querySelector(selector);
  const all = (selector, node = document) => [...node.querySelectorAll(selector)];
  const data = JSON.parse(find("#data").textContent);
  const [TEXT, INTERVAL, N, VALUE, LOW, HIGH] = [0, 1, 2, 3, 4, 5];

  function make(tag, style = "", ...content) {
    const node = document.createElement(tag);
    if (style) node.className = style;
    node.append(...content);
    return node;
  }
  function button(style, content, act) {
    const node = Object.assign(make("button", style, ...content), { type: "button" });
    node.addEventListener("click", () => act(node));
    return node;
  }
  function shape(tag, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }
  const short = (name, length = 48) => (name.length > length ? `${[...name].slice(0, length - 1).join("")}…` : name);

  function fill(node, entry, bar, n) {
    node.replaceChildren(make("span", "v", entry[TEXT]));
    if (bar && entry[VALUE] !== null && entry[LOW] !== null) {
      const range = make("span", "bar");
      range.ariaHidden = "true";
      range.style.cssText = `--l:${entry[LOW]};--v:${entry[VALUE]};--h:${entry[HIGH]}`;
      node.append(range);
    }
    if (entry[INTERVAL]) node.append(" ", make("span", "i", entry[INTERVAL]));
    if (n) node.append(" ", make("span", "i", `${entry[INTERVAL] ? "· " : ""}n = ${entry[N].toLocaleString("en")}`));
    return node;
  }

  // -- light and dark, and the tip beside the pointer -------------------------------------------
  const theme = find("#theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const rename = () => { theme.textContent = dark() ? "Light colours" : "Dark colours"; };
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; rename(); });
  system.addEventListener("change", rename);
  rename();

  const tip = find("#tip");
  const hush = () => { tip.hidden = true; };

  function say(lines, x, y) {
    tip.replaceChildren(...lines.map((line, i) => make(i ? "div" : "b", "", line)));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    // In the page's own coordinates, so that it stays at its place when the page is scrolled under it.
    const inside = (wanted, most, scrolled) => `${scrolled + Math.max(8, Math.min(wanted + 14, most - 8))}px`;
    const left = inside(x, root.clientWidth - box.width, scrollX);
    Object.assign(tip.style, { left, top: inside(y, innerHeight - box.height, scrollY) });
  }

  return { data, find, all, make, button, shape, short, fill, say, hush, root, TEXT, INTERVAL, N, VALUE, LOW, HIGH };
})();
