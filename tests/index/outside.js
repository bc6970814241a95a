/* Elements that reach out of the box they stand in: a card, a tile, a form. */
() => {
  const outside = [];
  for (const box of document.querySelectorAll(".card, .tile, .filters")) {
    const right = box.getBoundingClientRect().right;
    for (const element of box.querySelectorAll("*")) {
      if (element.closest(".scroll, pre, svg, #chart") || !element.checkVisibility()) continue;
      if (element.getBoundingClientRect().right > right + 0.5) outside.push(`${element.tagName}.${element.className} in ${box.className}`);
    }
  }
  return outside;
}
