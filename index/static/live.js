"use strict";
/* The overview stays up to date: posts and alerts by server-sent events, totals and trends asked for after them. */
(() => {
  const { say, knows, make, time, tone, entityUrl, grouped } = weibowatch;
  const POSTS_MAX = 12;
  const ALERTS_MAX = 5;
  const HAN = "zh-CN";
  const REFRESH_MS = 3000;
  const posts = document.getElementById("posts");
  const alerts = document.getElementById("alerts");
  const trends = document.getElementById("trends");
  const popular = document.getElementById("popular");
  const fresh = document.getElementById("fresh");
  const live = document.getElementById("live");
  let waiting = [];
  let waitingCount = 0;
  let refreshDue = null;

  /* The text in pieces, as rendering.py does it. Spans count code points. */
  const pieces = (hit) => {
    const chars = Array.from(hit.text);
    const owner = new Array(chars.length).fill(null);
    const byStart = [...hit.mentions].sort((a, b) => a.start - b.start || b.end - a.end);
    for (const mention of byStart) {
      const end = Math.min(mention.end, chars.length);
      if (mention.start < end && owner.slice(mention.start, end).every((held) => held === null)) owner.fill(mention, mention.start, end);
    }
    const found = [];
    chars.forEach((char, place) => {
      const last = found[found.length - 1];
      if (last && last.mention === owner[place]) last.text += char;
      else found.push({ text: char, mention: owner[place] });
    });
    return found;
  };

  const mentionLink = ({ text, mention }) => {
    const link = make("a", `mention ${tone(mention.type)}`, text);
    link.href = entityUrl(mention.entity);
    link.title = `${mention.entity} · ${Math.round(mention.confidence * 100)} %`;
    if (mention.provenance === "image") {
      link.classList.add("by-image");
      link.title += ` · ${say("image")}`;
    }
    return link;
  };

  const picture = (row) => {
    if (!row.stored) return make("span", "gone", say("picture_gone"));
    const link = make("a");
    const image = make("img");
    link.href = image.src = `/pictures/${row.sha256}`;
    image.alt = say("picture");
    image.width = image.height = 96;
    link.append(image);
    return link;
  };

  const postElement = (hit) => {
    const article = make("article", "post arrived");
    article.dataset.id = hit.id;
    const meta = make("p", "meta");
    meta.append(time(hit.created_at), hit.author_known ? make("span", "author", hit.author.slice(0, 10)) : make("span", "", say("unknown_author")));
    if (hit.region) meta.append(make("span", "", hit.region));
    if (hit.repost_of) meta.append(make("span", "tag", say("repost")));
    meta.append(make("span", "source", hit.source));
    const text = make("p", hit.text ? "text" : "text muted", hit.text ? undefined : say("no_text"));
    if (hit.text) text.lang = HAN;
    for (const piece of pieces(hit)) text.append(piece.mention ? mentionLink(piece) : piece.text);
    article.append(meta, text);
    if (hit.pictures.length) {
      const row = make("div", "pictures");
      row.append(...hit.pictures.slice(0, 6).map(picture));
      article.append(row);
    }
    if (hit.counts || hit.url) article.append(ending(hit));
    return article;
  };

  const ending = (hit) => {
    const line = make("p", "meta end");
    for (const name of hit.counts ? ["reposts", "comments", "likes"] : []) {
      line.append(make("span", "", say(name, { count: grouped(hit.counts[name]) })));
    }
    if (hit.url) {
      const link = make("a", "", `${say("open")} ↗`);
      link.href = hit.url;
      link.rel = "noreferrer noopener";
      link.target = "_blank";
      line.append(link);
    }
    return line;
  };

  /* What an alert is about: an entity, the stream or the model. */
  const subjectElement = (row) => {
    if (row.type === "MODEL") return make("span", "entity t-other", say("subject.model", { type: knows(`type.${row.name}`) ? say(`type.${row.name}`) : row.name }));
    if (row.type === "STREAM") return make("span", "entity t-other", knows(`subject.${row.name}`) ? say(`subject.${row.name}`) : row.name);
    const link = make("a", `entity ${tone(row.type)}`, row.name);
    link.lang = HAN;
    link.href = entityUrl(row.entity);
    return link;
  };

  const alertElement = (row) => {
    const article = make("article", `alert arrived s-${row.state}`);
    article.dataset.id = row.id;
    const head = make("p", "head");
    const link = subjectElement(row);
    const when = make("span", "push");
    when.append(time(row.at));
    const known = ["firing", "escalated", "resolved"].includes(row.state);
    head.append(make("span", "state", known ? say(`alert_${row.state}`) : row.state), link, when);
    const facts = make("p", "facts");
    facts.append(make("span", "tag", row.rule_id));
    if (row.severity) facts.append(make("span", "tag", knows(`severity.${row.severity}`) ? say(`severity.${row.severity}`) : row.severity));
    article.append(head);
    if (row.reason) article.append(make("p", "reason", knows(row.reason_key) ? say(row.reason_key, row.reason_values) : row.reason));
    article.append(facts);
    if (row.evidence.length) {
      const list = make("ol", "evidence");
      for (const item of row.evidence.slice(0, 2)) {
        const entry = make("li");
        const excerpt = make("span", "", item.excerpt);
        excerpt.lang = HAN;
        entry.append(time(item.created_at), excerpt);
        list.append(entry);
      }
      article.append(list);
    }
    const more = make("a", "", say("details"));
    more.href = `/alerts/${encodeURIComponent(row.incident_id)}`;
    const end = make("p", "meta end");
    end.append(more);
    article.append(end);
    return article;
  };

  /* Newest first by event time, as the page came: a late post takes its place among the others. */
  const at = (element) => Date.parse(element.querySelector("time").dateTime);
  const put = (list, element, most) => {
    list.querySelectorAll(":scope > .empty").forEach((old) => old.remove());
    [...list.children].filter((old) => old.dataset.id === element.dataset.id).forEach((old) => old.remove());
    list.insertBefore(element, [...list.children].find((old) => at(old) <= at(element)) || null);
    while (list.children.length > most) list.lastElementChild.remove();
  };

  const show = () => {
    for (const hit of waiting.slice(0, POSTS_MAX).reverse()) put(posts, postElement(hit), POSTS_MAX);
    waiting = [];
    waitingCount = 0;
    fresh.hidden = true;
  };

  /* Nobody's text moves away under their eyes: while the list is read, new posts wait behind a button. */
  const isRead = () => posts.matches(":hover") || posts.contains(document.activeElement) || window.scrollY > 240;

  const onPosts = (batch) => {
    waiting = [...batch.hits, ...waiting].slice(0, POSTS_MAX);
    waitingCount += batch.count;
    if (isRead()) {
      fresh.textContent = say("new_posts", { count: grouped(waitingCount) });
      fresh.hidden = false;
    } else show();
    refreshSoon();
  };

  const SVG = "http://www.w3.org/2000/svg";
  const sparkline = (values) => {
    const top = Math.max(1, ...values);
    const step = 92 / Math.max(values.length - 1, 1);
    const line = values.map((value, place) => `${place ? "L" : "M"}${(place * step + 2).toFixed(1)} ${(24 - (value * 22) / top).toFixed(1)}`).join(" ");
    const svg = document.createElementNS(SVG, "svg");
    for (const [name, value] of [["class", "spark"], ["viewBox", "0 0 96 26"], ["width", "96"], ["height", "26"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
    for (const [name, path] of [["area", `${line} L94 26 L2 26 Z`], ["line", line]]) {
      const element = document.createElementNS(SVG, "path");
      element.setAttribute("class", name);
      element.setAttribute("d", path);
      svg.append(element);
    }
    return svg;
  };

  const dot = (type) => {
    const element = make("span", `dot ${tone(type)}`);
    const name = knows(`type.${type}`) ? say(`type.${type}`) : type;
    element.setAttribute("role", "img");
    element.setAttribute("aria-label", name);
    element.title = name;
    return element;
  };

  const noRise = () => {
    const item = make("li", "none");
    const box = make("div", "empty");
    box.append(make("p", "strong", say("no_rise")));
    item.append(box);
    return item;
  };

  const trendElement = (row) => {
    const item = make("li");
    const link = make("a", `name ${tone(row.type)}`);
    link.href = entityUrl(row.entity);
    const name = make("span", "", row.name);
    name.lang = HAN;
    link.append(dot(row.type), name);
    const kind = row.growth === null ? "new" : row.growth >= 1 ? "up" : "down";
    const rise = make("span", `rise ${kind}`, row.growth === null ? say("new") : `×${row.growth.toFixed(1)}`);
    item.append(link, sparkline(row.sparkline), make("span", "count", grouped(row.mentions)), rise);
    return item;
  };

  const ask = async (address) => {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
    return answer.json();
  };

  const refresh = async () => {
    refreshDue = null;
    let stats, found, most;
    try {
      [stats, found] = await Promise.all([ask("/api/stats"), ask("/api/trends?order=growth&limit=10")]);
      const since = new Date(Date.parse(stats.last_post || 0) - popular.dataset.days * 86400000).toISOString();
      most = await ask(`/api/trends?limit=10&since=${encodeURIComponent(since)}`);
    } catch {
      return;
    }
    popular.replaceChildren(...most.entities.map(trendElement));
    popular.parentElement.hidden = !most.entities.length;
    for (const name of ["posts", "mentions", "entities", "alerts"]) document.querySelector(`[data-stat=${name}]`).textContent = grouped(stats[name]);
    const reached = stats.watermark || stats.last_post;
    if (reached) document.querySelector("[data-stat=reached]").replaceChildren(time(reached));
    document.querySelector("[data-stat=lag]").textContent = grouped(stats.status.lag_records || 0);
    trends.replaceChildren(...(found.entities.length ? found.entities.map(trendElement) : [noRise()]));
    document.getElementById("trending-note").textContent = say("trending_note", { since: found.since.slice(0, 16).replace("T", " ") });
    const problem = document.getElementById("problem");
    problem.textContent = stats.status.problem || "";
    problem.hidden = !stats.status.problem;
  };

  const refreshSoon = () => {
    if (refreshDue === null) refreshDue = setTimeout(refresh, REFRESH_MS);
  };

  fresh.addEventListener("click", show);
  const stream = new EventSource("/api/stream");
  stream.addEventListener("open", () => {
    live.hidden = false;
    live.classList.remove("lost");
    live.lastElementChild.textContent = say("live");
  });
  stream.addEventListener("error", () => {
    live.hidden = false;
    live.classList.add("lost");
    live.lastElementChild.textContent = say("lost");
  });
  stream.addEventListener("posts", (event) => onPosts(JSON.parse(event.data)));
  stream.addEventListener("alert", (event) => {
    put(alerts, alertElement(JSON.parse(event.data)), ALERTS_MAX);
    refreshSoon();
  });
  addEventListener("pagehide", () => stream.close());
})();
