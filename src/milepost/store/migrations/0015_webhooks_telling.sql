-- Which webhooks are told of an end is looked for among disabled ones too since 0012: nothing reads this index any more.
drop index if exists milepost.webhooks_telling;
