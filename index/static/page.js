"use strict";
/* Every page: times in the reader's own zone, and the small tools the other scripts share. Text is only ever set as text. */
const weibowatch = (() => {
  const texts = JSON.parse(document.getElementById("texts").textContent);
  const say = (key, values = {}) => texts[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const knows = (key) => Object.hasOwn(texts, key);
  const two = (number) => String(number).padStart(2, "0");
  const clock = (iso) => {
    const at = new Date(iso);
    return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
  };
  const make = (name, className, text) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const time = (iso) => {
    const element = make("time", "", clock(iso));
    element.dateTime = iso;
    return element;
  };
  const localise = (root) => root.querySelectorAll("time[datetime]").forEach((element) => {
    element.textContent = clock(element.dateTime);
    element.title = element.dateTime;
  });
  const types = ["PER", "LOC", "ORG", "MISC"];
  const tone = (type) => (types.includes(type) ? `t-${type.toLowerCase()}` : "t-other");
  const entityUrl = (entity) => "/entities/" + entity.split("/").map(encodeURIComponent).join("/");
  const grouped = (number) => Number(number).toLocaleString("en-US");
  localise(document);
  if (matchMedia("(max-width: 1020px)").matches) document.querySelectorAll("[data-folded-when-narrow]").forEach((box) => { box.open = false; });
  return { say, knows, make, time, tone, entityUrl, grouped };
})();
