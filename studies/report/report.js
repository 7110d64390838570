"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const coarse = matchMedia("(pointer: coarse)").matches;
const base = {
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
  font: { size: 13 }, margin: { l: 58, r: 14, t: 26, b: 52 }, hovermode: "closest",
  dragmode: coarse ? false : "zoom",
  hoverlabel: { bgcolor: "#1b2127", bordercolor: "#1b2127", align: "left",
    font: { color: "#ffffff", size: 12 } },
};
const titled = (given = {}) => ({ automargin: true, zeroline: false, ...given,
  title: { standoff: 10, ...given.title } });
const config = { responsive: true, displayModeBar: false };
const plots = [...document.querySelectorAll("[data-figure]")];
for (const plot of plots) {
  const { data, layout } = figures[plot.dataset.figure];
  Plotly.newPlot(plot, data, { ...base, ...layout,
    xaxis: titled(layout.xaxis), yaxis: titled(layout.yaxis) }, config);
}
const closed = () => [...document.querySelectorAll("details:not([open])")];
let opened = [];
addEventListener("beforeprint", () => {
  opened = closed();
  opened.forEach((one) => { one.open = true; });
  plots.forEach((plot) => Plotly.relayout(plot, { width: 660, autosize: false }));
});
addEventListener("afterprint", () => {
  opened.forEach((one) => { one.open = false; });
  plots.forEach((plot) => Plotly.relayout(plot, { width: null, autosize: true }));
});
