"""The Sock Shop's pages: one document whose script draws what the address names. Blue in v1, red in v2."""

from __future__ import annotations

import html
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from web import Response, as_json

THEMES = {"v1": ("blue", "#1f5f99", "#e8f1fa"), "v2": ("red", "#b3261e", "#fdecea")}
PAGES = {
    "index.html": "Socks",
    "category.html": "Catalogue",
    "detail.html": "Sock",
    "basket.html": "Basket",
    "checkout.html": "Order",
    "customer-orders.html": "Orders",
    "customer-order.html": "Order",
    "customer-account.html": "Account",
}

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#f6f7f9;--card:#fff;--line:#dde1e6;--soft:#5c6670}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--paper:#14171b;--card:#1d2228;--line:#333a42;--soft:#a2abb5;--wash:#20262d}}
*{box-sizing:border-box}body{margin:0;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
header{background:var(--brand);color:#fff;padding:.7rem max(1rem,calc(50% - 32rem));display:flex;gap:1.25rem;align-items:center;flex-wrap:wrap}
header a{color:#fff;text-decoration:none}header .name{font-weight:700;font-size:1.25rem}header nav{display:flex;gap:1rem;flex:1}
main{max-width:64rem;margin:0 auto;padding:1.25rem 1rem 3rem}h1{font-size:1.7rem;margin:.4rem 0 1rem}
.hero{background:var(--wash);border-radius:14px;padding:1.4rem 1.6rem;margin-bottom:1.2rem}.hero h1{margin:0}
.grid{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr))}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1rem;display:flex;flex-direction:column;gap:.4rem}
.card img{width:100%;height:9rem;object-fit:contain}.card h2{font-size:1.05rem;margin:0}.card h2 a{color:inherit}.price{font-weight:600}
.soft,footer{color:var(--soft);font-size:.9rem}.chips{display:flex;gap:.4rem;flex-wrap:wrap;margin:0 0 1rem;padding:0;border:0}
.chips label{border:1px solid var(--line);border-radius:99px;padding:.15rem .8rem;cursor:pointer;background:var(--card)}
.chips input{position:absolute;opacity:0}.chips label:has(:checked){background:var(--brand);color:#fff;border-color:var(--brand)}
.chips label:has(:focus-visible),button:focus-visible,a:focus-visible,input:focus-visible{outline:3px solid #f2a33a;outline-offset:2px}
button,.button{font:inherit;border:0;border-radius:8px;padding:.4rem 1rem;background:var(--brand);color:#fff;cursor:pointer;text-decoration:none;display:inline-block}
button.plain{background:none;color:inherit;text-decoration:underline;padding:.2rem .4rem}button:disabled{opacity:.5;cursor:default}
input,select{font:inherit;padding:.35rem .6rem;border:1px solid var(--line);border-radius:8px;background:var(--card);color:inherit}
table{width:100%;border-collapse:collapse;background:var(--card);border:1px solid var(--line);border-radius:12px}
th,td{text-align:left;padding:.6rem .8rem;border-bottom:1px solid var(--line)}td.number,th.number{text-align:right}
.wrap{overflow-x:auto}.two{display:grid;grid-template-columns:1fr 1.2fr;gap:1.5rem}.two img{width:100%;max-height:20rem;object-fit:contain}
form.stack{display:grid;gap:.6rem;max-width:26rem}form.stack label{display:grid;gap:.15rem}
[role=status]{min-height:1.5rem;margin:.3rem 0}.error{color:#c62828}@media(prefers-color-scheme:dark){.error{color:#ff8a80}}
footer{text-align:center;padding:1rem}dialog{border:1px solid var(--line);border-radius:14px;background:var(--card);color:inherit;min-width:20rem}
@media(max-width:44rem){.two{grid-template-columns:1fr}}
"""

SCRIPT = r"""
const $=(s,e=document)=>e.querySelector(s),main=$('main'),query=new URLSearchParams(location.search);
const safe=t=>String(t??'').replace(/[&<>"']/g,c=>'&#'+c.charCodeAt(0)+';'),money=n=>'$'+Number(n).toFixed(2);
const inside=()=>document.cookie.split('; ').some(c=>c.startsWith('logged_in=')&&c.length>10);
function say(text,bad){const s=$('[role=status]');s.textContent=text;s.className=bad?'error':''}
async function ask(path,method='GET',body){
  const r=await fetch(path,{method,headers:body?{'content-type':'application/json'}:{},body:body?JSON.stringify(body):undefined});
  const text=await r.text();let found=text;try{found=JSON.parse(text)}catch{}
  if(!r.ok)throw Object.assign(new Error((found&&(found.message||found.error))||text||('status '+r.status)),{status:r.status});
  return found}
async function act(work,done){try{await work();if(done)say(done)}catch(e){say(e.message,true)}await count()}
async function count(){try{const items=await ask('/cart');const n=items.reduce((s,i)=>s+i.quantity,0);
  $('#basket').textContent=n?`Basket (${n})`:'Basket'}catch{$('#basket').textContent='Basket'}}
const add=id=>act(()=>ask('/cart','POST',{id}),'In the basket.');
const card=s=>`<article class="card"><img src="${safe(s.imageUrl[0])}" alt=""><h2><a href="/detail.html?id=${encodeURIComponent(s.id)}">${safe(s.name)}</a></h2>
<div class="soft">${safe(s.tag.join(', '))}</div><div class="price">${money(s.price)}</div><button data-add="${safe(s.id)}">Add to basket</button></article>`;
const pages={
 async index(){const socks=await ask('/catalogue?size=5');
  main.insertAdjacentHTML('beforeend',`<div class="hero"><h1>We love socks!</h1><p>Ten kinds, for every foot. <a class="button" href="/category.html">See them all</a></p></div><div class="grid">${socks.map(card).join('')}</div>`)},
 async category(){const {tags}=await ask('/tags');const chosen=new Set((query.get('tags')||'').split(',').filter(Boolean));
  main.insertAdjacentHTML('beforeend',`<h1>Catalogue</h1><fieldset class="chips"><legend class="soft">Filter by tag</legend>${tags.map(t=>`<label><input type="checkbox" value="${safe(t)}" ${chosen.has(t)?'checked':''}>${safe(t)}</label>`).join('')}</fieldset>
  <p><label>Sort by <select id="sort"><option value="id">default<option value="name">name<option value="price">price</select></label></p><div class="grid"></div>`);
  const show=async()=>{const t=[...document.querySelectorAll('.chips input:checked')].map(i=>i.value).join(',');
   const socks=await ask(`/catalogue?size=100&sort=${$('#sort').value}&tags=${encodeURIComponent(t)}`);$('.grid').innerHTML=socks.map(card).join('')||'<p>No sock has such a tag.</p>';say(socks.length+' socks')};
  $('.chips').onchange=$('#sort').onchange=()=>show().catch(e=>say(e.message,true));await show()},
 async detail(){const s=await ask('/catalogue/'+encodeURIComponent(query.get('id')||''));
  main.insertAdjacentHTML('beforeend',`<div class="two"><img src="${safe(s.imageUrl[0])}" alt=""><div><h1>${safe(s.name)}</h1><p>${safe(s.description)}</p><p class="price">${money(s.price)}</p><p class="soft">${s.count} in stock · ${safe(s.tag.join(', '))}</p><button data-add="${safe(s.id)}">Add to basket</button></div></div>`)},
 async basket(){const [items,socks]=await Promise.all([ask('/cart'),ask('/catalogue?size=100')]);const by=Object.fromEntries(socks.map(s=>[s.id,s]));
  if(!items.length){main.insertAdjacentHTML('beforeend','<h1>Basket</h1><p>It is empty. <a href="/category.html">Find some socks.</a></p>');return}
  const sum=items.reduce((t,i)=>t+i.quantity*i.unitPrice,0);
  main.insertAdjacentHTML('beforeend',`<h1>Basket</h1><div class="wrap"><table><thead><tr><th>Sock<th>Quantity<th class="number">Price<th class="number">Total<th></thead><tbody>${items.map(i=>`<tr><td>${safe((by[i.itemId]||{}).name||i.itemId)}<td><input type="number" min="1" value="${i.quantity}" data-update="${safe(i.itemId)}" aria-label="Quantity" style="width:5rem"><td class="number">${money(i.unitPrice)}<td class="number">${money(i.quantity*i.unitPrice)}<td><button class="plain" data-remove="${safe(i.itemId)}">Remove</button>`).join('')}</tbody></table></div>
  <p>Socks ${money(sum)}, shipping ${money(4.99)}: <strong>${money(sum+4.99)}</strong></p><button id="order">Place order</button>${inside()?'':'<p class="soft">Sign in first.</p>'}`);
  $('#order').disabled=!inside();
  $('#order').onclick=()=>act(async()=>{const o=await ask('/orders','POST',{});await ask('/cart','DELETE');location='/customer-order.html?id='+o.id})},
 async checkout(){location.replace('/basket.html')},
 async 'customer-orders'(){const orders=await ask('/orders');
  main.insertAdjacentHTML('beforeend',`<h1>Orders</h1>${orders.length?`<div class="wrap"><table><thead><tr><th>Order<th>Date<th class="number">Total</thead><tbody>${orders.map(o=>`<tr><td><a href="/customer-order.html?id=${safe(o.id)}">${safe(o.id)}</a><td>${safe(new Date(o.date).toLocaleString())}<td class="number">${money(o.total)}`).join('')}</tbody></table></div>`:'<p>None yet.</p>'}`)},
 async 'customer-order'(){const o=await ask('/orders/'+encodeURIComponent(query.get('id')||''));
  main.insertAdjacentHTML('beforeend',`<h1>Order ${safe(o.id)}</h1><p>${o.items.reduce((n,i)=>n+i.quantity,0)} pairs for <strong>${money(o.total)}</strong>, sent to ${safe(o.address.number)} ${safe(o.address.street)}, ${safe(o.address.city)}.</p><p><a href="/customer-orders.html">All orders</a></p>`)},
 async 'customer-account'(){const [address,card]=await Promise.all([ask('/address'),ask('/card')]);
  main.insertAdjacentHTML('beforeend',`<h1>Account</h1><p>Address: ${address.street?`${safe(address.number)} ${safe(address.street)}, ${safe(address.city)}`:'none'}</p><p>Card: ${card.number?'ends with '+safe(card.number):'none'}</p>
  <div class="two"><form class="stack" data-to="/addresses"><h2>New address</h2>${['number','street','city','postcode','country'].map(f=>`<label>${f}<input name="${f}" required></label>`).join('')}<button>Keep</button></form>
  <form class="stack" data-to="/cards"><h2>New card</h2>${['longNum','expires','ccv'].map(f=>`<label>${f}<input name="${f}" required></label>`).join('')}<button>Keep</button></form></div>`);
  for(const f of document.querySelectorAll('form[data-to]'))f.onsubmit=e=>{e.preventDefault();act(async()=>{await ask(f.dataset.to,'POST',Object.fromEntries(new FormData(f)));location.reload()})}}
};
document.addEventListener('click',e=>{const b=e.target.closest('button');if(!b)return;
 if(b.dataset.add)add(b.dataset.add);
 if(b.dataset.remove)act(()=>ask('/cart/'+encodeURIComponent(b.dataset.remove),'DELETE')).then(()=>location.reload());
 if(b.id=='enter')$('#login').showModal();if(b.id=='join')$('#register').showModal();
 if(b.id=='leave')ask('/logout','POST').finally(()=>location='/')});
document.addEventListener('change',e=>{const id=e.target.dataset.update;if(id)act(()=>ask('/cart/update','POST',{id,quantity:+e.target.value})).then(()=>location.reload())});
$('#login form').onsubmit=async e=>{e.preventDefault();const f=new FormData(e.target);
 const bytes=new TextEncoder().encode(f.get('username')+':'+f.get('password'));
 const r=await fetch('/login',{headers:{authorization:'Basic '+btoa(String.fromCharCode(...bytes))}});
 if(r.ok)location.reload();else $('#login .error').textContent=r.status==401?'No such name and password.':'The shop cannot check it now.'};
$('#register form').onsubmit=async e=>{e.preventDefault();try{await ask('/register','POST',Object.fromEntries(new FormData(e.target)));location.reload()}catch(x){$('#register .error').textContent=x.message}};
$('#who').innerHTML=inside()?'<a href="/customer-orders.html">Orders</a> <a href="/customer-account.html">Account</a> <button class="plain" id="leave">Sign out</button>':'<button class="plain" id="enter">Sign in</button><button class="plain" id="join">Register</button>';
(pages[location.pathname.slice(1).replace('.html','')||'index']||pages.index)().catch(e=>say(e.status==401?'Sign in to see this page.':'Something is wrong: '+e.message,true)).finally(count);
"""


def page(name: str, version: str, pod: str) -> Response:
    """A page by its file name."""
    if name not in PAGES:
        return as_json({"error": "not found", "status_code": 404}, 404)
    colour, brand, wash = THEMES.get(version, THEMES["v1"])
    fields = "".join(
        f'<label>{label}<input name="{field}" type="{kind}" autocomplete="{auto}" required></label>'
        for label, field, kind, auto in (
            ("User name", "username", "text", "username"),
            ("Password", "password", "password", "current-password"),
        )
    )
    more = "".join(
        f'<label>{label}<input name="{field}"></label>'
        for label, field in (("First name", "firstName"), ("Last name", "lastName"), ("E-mail", "email"))
    )
    dialogs = "".join(
        f'<dialog id="{ident}" aria-label="{title}"><form class="stack" method="dialog"><h2>{title}</h2>{inner}<p class="error" role="alert"></p>'
        f"<button>{title}</button></form></dialog>"
        for ident, title, inner in (("login", "Sign in", fields), ("register", "Register", fields + more))
    )
    text = (
        f'<!doctype html><html lang="en" data-version="{version}" data-colour="{colour}"><head><meta charset="utf-8"><title>WeaveSocks</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}:root{{--brand:{brand}}}'
        f"@media(prefers-color-scheme:light){{:root{{--wash:{wash}}}}}</style></head><body>"
        '<header><a class="name" href="/">WeaveSocks</a><nav aria-label="Shop"><a href="/category.html">Catalogue</a>'
        '<a href="/basket.html" id="basket">Basket</a></nav><span id="who"></span></header>'
        f'<main><p role="status"></p></main>{dialogs}<footer>{PAGES[name]} · front-end {version} ({colour}) · {html.escape(pod)}</footer>'
        f"<script>{SCRIPT}</script></body></html>"
    )
    return Response(text, kind="text/html; charset=utf-8")
