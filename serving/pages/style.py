"""The look of every page and chart, for light and dark screens, phones and paper."""

# Series colours keep 3:1 against the page in both schemes; the first three also differ without red or green.
COLOURS = """
:root{color-scheme:light dark;--page:#fff;--ink:#1b2530;--soft:#5a6876;--line:#dde3e9;--panel:#f5f7f9;
--link:#1d5fc9;--good:#1b7443;--good-wash:#e4f4eb;--bad:#b3261e;--bad-wash:#fcebe9;--wait:#8f5a0a;--wait-wash:#fdf1dc;
--mark:#fff4dc;--rest:#8493a3;--main:#2f6fde;--other:#c2701c;--third:#2d8a57;--fourth:#8a56c2;--fifth:#5d7285;--alarm:#c8372d}
@media screen and (prefers-color-scheme:dark){:root{--page:#12171d;--ink:#e4e9ee;--soft:#9aa8b5;--line:#2c3641;
--panel:#1a212a;--link:#8ab4f8;--good:#6fcf97;--good-wash:#16301f;--bad:#f28b82;--bad-wash:#3a1d1b;--wait:#e8b45c;
--wait-wash:#33290f;--mark:#33290f;--rest:#5b6a7a;--main:#7aa7f7;--other:#e8a35c;--third:#6cc493;--fourth:#b794e6;--fifth:#9fb0c0;
--alarm:#f0776e}}
"""
CHART = """
.chart{color:var(--ink);font:12px system-ui,-apple-system,"Segoe UI",sans-serif;max-width:100%;height:auto}
.chart text{fill:currentColor}.chart .head{font-size:14px;font-weight:600}.chart .faint{opacity:.72}
.chart .end{text-anchor:end}.chart .mid{text-anchor:middle}
.chart .grid{stroke:var(--line)}.chart .axis{stroke:currentColor;opacity:.5}
.chart .line{fill:none;stroke:var(--main);stroke-width:2;stroke-linejoin:round}.chart .dash{stroke-dasharray:6 4}
.chart .fill{fill:var(--main)}.chart .cloud{fill-opacity:.4}.chart .area{fill:var(--main);fill-opacity:.12}
.chart .line.s1{stroke:var(--other)}.chart .line.s2{stroke:var(--third)}.chart .line.s3{stroke:var(--fourth)}
.chart .line.s4{stroke:var(--fifth)}.chart .line.alarm{stroke:var(--alarm)}
.chart .fill.s1{fill:var(--other)}.chart .fill.s2{fill:var(--third)}.chart .fill.s3{fill:var(--fourth)}
.chart .fill.s4{fill:var(--fifth)}.chart .fill.alarm{fill:var(--alarm)}
.chart text.alarm{fill:var(--alarm);paint-order:stroke;stroke:var(--page);stroke-width:4px}
"""
ALONE = f"<style>{COLOURS}{CHART}svg:root{{background:var(--page)}}</style>"  # in a chart that is a file of its own
PAGE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main,footer{max-width:1120px;margin:0 auto;padding:0 32px}
main{padding-top:40px}
h1{font-size:30px;line-height:1.2;letter-spacing:-.01em;margin:0}
h1 small{font-size:18px;font-weight:400;color:var(--soft);letter-spacing:0}
h1 .badge{vertical-align:middle;letter-spacing:0}
h2{font-size:21px;line-height:1.3;margin:44px 0 12px;padding-top:14px;border-top:1px solid var(--line)}
h2 small{font-size:14px;font-weight:400;color:var(--soft);margin-left:8px}
h3{font-size:16px;margin:28px 0 8px}
p{margin:0 0 12px;max-width:72ch}
a{color:var(--link);text-underline-offset:2px}
summary{cursor:pointer;font-weight:600}
code,pre,.id{font:.875em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
pre{background:var(--panel);border-radius:6px;padding:14px 16px;margin:8px 0 12px;white-space:pre-wrap}
.over{color:var(--soft);margin:0 0 4px}
.soft,.note{color:var(--soft)}
.note{font-size:14px}
.badge{display:inline-block;padding:1px 9px;border-radius:4px;border:1px solid;font-weight:600;font-size:14px;
line-height:1.5;white-space:nowrap;color:var(--soft)}
.verdict{border-left:4px solid;background:var(--panel);padding:16px 20px;border-radius:0 6px 6px 0;margin:22px 0 20px;
color:var(--main)}
.good{color:var(--good)}.bad{color:var(--bad)}.wait{color:var(--wait)}
.badge.good,.verdict.good{background:var(--good-wash)}.badge.bad,.verdict.bad{background:var(--bad-wash)}
.badge.wait,.verdict.wait{background:var(--wait-wash)}
.verdict>*{color:var(--ink)}
.verdict p{margin:8px 0 0}
.verdict p:first-child{font-size:19px;line-height:1.45;margin:0}
.verdict ul{margin:10px 0 0;padding-left:20px}
.verdict .badge{font-size:15px;margin-right:8px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(178px,1fr));gap:12px;margin:18px 0}
.tile{background:var(--panel);border-radius:6px;padding:14px 16px}
.tile .name{color:var(--soft);font-size:14px}
.tile .value{font-size:25px;line-height:1.3;font-weight:600;font-variant-numeric:tabular-nums;white-space:nowrap}
.tile .unit{font-size:15px;font-weight:400;color:var(--soft)}
.tile .note{display:block;line-height:1.45}
dl{display:grid;grid-template-columns:fit-content(45%) 1fr;gap:6px 20px;margin:12px 0 16px}
dt{color:var(--soft);min-width:144px;overflow-wrap:anywhere}dd{margin:0;min-width:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:8px 0 16px}
table{border-collapse:collapse;width:100%;font-size:15px;line-height:1.45}
th,td{text-align:left;vertical-align:baseline;padding:7px 20px 7px 0;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{padding-left:8px}th:last-child,td:last-child{padding-right:8px}
thead th{font-weight:600;font-size:14px;color:var(--soft);vertical-align:bottom;white-space:nowrap}
tbody th{font-weight:400}
td .long{min-width:210px}
.nowrap{white-space:nowrap}
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr.worst>*{background:var(--mark)}tr.sum>*{background:var(--panel)}
tr.group th{font-weight:600;padding-top:18px}
.bar{display:block;height:8px;min-width:2px;border-radius:2px;background:var(--main)}
.worst .bar{background:var(--other)}
td.track{width:24%;min-width:110px;vertical-align:middle}
.meter{position:relative;height:8px;min-width:150px;margin:4px 0 6px;border-radius:4px;
background:var(--line);color:var(--main)}
.meter i{display:block;height:8px;border-radius:4px;background:currentColor}
.meter u{position:absolute;top:-3px;height:14px;width:2px;background:var(--ink)}
.share{display:flex;gap:2px;height:14px;border-radius:3px;overflow:hidden;margin:6px 0}
td .share{width:min(520px,40vw);margin:0}
.share i{background:var(--main)}.share i.k1{background:var(--rest)}.share i.k2{background:var(--other)}
.key{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:6px;background:var(--main)}
.key.k1{background:var(--rest)}.key.k2{background:var(--other)}
.keys{display:flex;flex-wrap:wrap;gap:4px 24px;font-size:14px;margin-bottom:16px}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(480px,100%),1fr));gap:20px 24px;margin:16px 0}
figure{margin:0;min-width:0}figure>b{font-weight:600;display:block}
figure svg.chart{display:block;width:100%;max-width:680px;margin-top:-8px;font-size:14px}
figure .chart .head{display:none}
figcaption{color:var(--soft);font-size:14px;max-width:66ch}
ol.chain{list-style:none;margin:16px 0;padding:0}
.chain li{position:relative;padding:0 0 16px 26px;color:inherit}
.chain li:before{content:"";position:absolute;left:5px;top:13px;bottom:-9px;width:2px;background:var(--line)}
.chain li:last-child:before{display:none}
.chain li:after{content:"";position:absolute;left:0;top:6px;width:12px;height:12px;border-radius:50%;
border:2px solid var(--main);background:var(--page)}
.chain li.alarm:after{border-color:var(--alarm);background:var(--alarm)}
.chain li.good:after{border-color:var(--good);background:var(--good)}
.chain b{font-weight:600;margin-right:8px}
.chain .at{display:inline-block;min-width:46px;color:var(--soft);font-variant-numeric:tabular-nums;font-size:14px}
.beside{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:8px 40px}
.beside>*{min-width:0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(380px,100%),1fr));gap:14px;margin:14px 0}
.card{border:1px solid var(--line);border-radius:6px;padding:14px 18px}
.card p{margin:6px 0 0}
footer{color:var(--soft);font-size:14px;padding-top:20px;padding-bottom:48px;margin-top:48px}
@media(max-width:640px){main,footer{padding-left:16px;padding-right:16px}main{padding-top:24px}h1{font-size:25px}
h2{margin-top:34px}.verdict p:first-child{font-size:17px}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}
.tiles{grid-template-columns:1fr 1fr;gap:8px}.tile{padding:10px 12px}.tile .value{font-size:20px}
figure svg.chart{font-size:18px}.aside{display:none}th,td{padding-right:14px}}
@media print{@page{margin:16mm 14mm}body{font-size:10.5pt}main,footer{max-width:none;padding:0}h2{margin-top:28px}
h2,h3{break-after:avoid}figure,tr,.tile,.card,.chain li,.verdict,dl{break-inside:avoid}
.scroll{overflow:visible}.plots{grid-template-columns:1fr 1fr}
table{font-size:8.5pt}th,td{padding-right:10px}td.track{width:12%;min-width:48px}
.beside figure svg.chart{max-width:420px}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""
CSS = COLOURS + CHART + PAGE
