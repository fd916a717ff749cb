// What a test asks a page about: an object of functions.
({
  /** Text with less contrast than WCAG 2.2 AA asks of it (1.4.3). */
  faint() {
    const parsed = (code) => (code.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
    const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const over = ([r, g, b, a = 1], back) => [r, g, b].map((value, k) => a * value + (1 - a) * back[k]);
    const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
    const behind = (element) => {
      if (element === null) return canvas;
      return over(parsed(getComputedStyle(element).backgroundColor), behind(element.parentElement));
    };
    const found = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = texts.nextNode(); node; node = texts.nextNode()) {
      const element = node.parentElement, style = getComputedStyle(element), text = node.textContent.trim();
      if (!text || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
      if (element.closest("script, style, option, :disabled, [aria-hidden=true]")) continue;
      const back = behind(element);
      const ink = over(parsed(element instanceof SVGElement ? style.fill : style.color), back);
      const [low, high] = [light(ink), light(back)].sort((a, b) => a - b);
      const contrast = (high + 0.05) / (low + 0.05);
      if (contrast < 4.5) found.push(`${contrast.toFixed(2)} ${element.tagName} ${text.slice(0, 40)}`);
    }
    return found;
  },

  /** Everything that the Tab key must reach; each part gets its number. Arrows move within a group of radio buttons. */
  reachable() {
    const groups = new Set();
    const parts = document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]");
    return [...parts]
      .filter((one) => one.type !== "radio" || (!groups.has(one.name) && groups.add(one.name)))
      .filter((one) => one.tabIndex >= 0 && !one.disabled && one.checkVisibility({ visibilityProperty: true }))
      .map((one, number) => {
        one.dataset.reach = number;
        return one.outerHTML.slice(0, 90);
      });
  },

  /** Number of the part with the focus, and whether an outline shows it. */
  focused() {
    const style = getComputedStyle(document.activeElement);
    return [document.activeElement.dataset.reach ?? null, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0];
  },

  /** What only a pointer can use. */
  clickable() {
    return [...document.querySelectorAll("main *")]
      .filter((one) => getComputedStyle(one).cursor === "pointer")
      .filter((one) => !one.closest("a, button, input, select, label, summary, [tabindex='0']"))
      .map((one) => one.outerHTML.slice(0, 90));
  },
})
