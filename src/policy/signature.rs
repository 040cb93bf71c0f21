//! Signature policies: "n out of" these principals and rules, each identity counted once.

use prost::Message as _;

use crate::msp::{Identity, MspManager, Principal};
use crate::proto::common::signature_policy::Type;
use crate::proto::common::{SignaturePolicy, SignaturePolicyEnvelope};

/// A tree of rules over principals.
///
/// Invariants, upheld by [`SignatureRule::parse`]: every principal that a rule names exists; the
/// tree is at most [`MAX_DEPTH`] deep and has at most [`MAX_RULES`] rules.
#[derive(Clone, Debug)]
pub(super) struct SignatureRule {
    principals: Vec<Principal>,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    /// One more identity that satisfies the principal of this index.
    SignedBy(usize),
    /// At least `n` of the rules.
    NOutOf { n: usize, rules: Vec<Self> },
}

impl SignatureRule {
    /// Decodes a `SignaturePolicyEnvelope`. The error says what is wrong with it.
    pub(super) fn parse(bytes: impl Into<bytes::Bytes>) -> Result<Self, String> {
        let envelope = SignaturePolicyEnvelope::decode(bytes.into())
            .map_err(|err| format!("not a SignaturePolicyEnvelope: {err}"))?;
        if envelope.version != 0 {
            return Err(format!("version {} is not supported, only 0", envelope.version));
        }
        if envelope.identities.len() > MAX_PRINCIPALS {
            return Err(format!("more than {MAX_PRINCIPALS} principals"));
        }
        let rule = envelope.rule.ok_or("rule is missing")?;
        let mut left = MAX_RULES;
        let rule = Rule::parse(rule, envelope.identities.len(), MAX_DEPTH, &mut left)?;
        let principals = envelope.identities.iter().map(Principal::parse).collect();
        Ok(Self { principals, rule })
    }

    /// Whether distinct identities satisfy the rules; otherwise why not.
    pub(super) fn satisfied_by(&self, msps: &MspManager, identities: &[&Identity]) -> Result<(), String> {
        let mut used = vec![false; identities.len()];
        if self.holds(&self.rule, msps, identities, &mut used) {
            return Ok(());
        }
        let why = match (identities, &self.principals[..]) {
            ([], _) => ": there is no valid signature".to_owned(),
            // With one signer and one principal, as most have, it can be said exactly.
            ([identity], [principal]) => msps
                .satisfies_parsed(identity, principal)
                .map_or_else(|err| format!(": {err}"), |()| String::new()),
            _ => String::new(),
        };
        Err(format!("the signatures do not satisfy the policy{why}"))
    }

    /// Evaluates greedily: a rule takes the first identity that fits and that no rule before it
    /// took; a group of rules that fails gives back what it took.
    fn holds(&self, rule: &Rule, msps: &MspManager, identities: &[&Identity], used: &mut Vec<bool>) -> bool {
        match rule {
            Rule::SignedBy(principal) => {
                let principal = &self.principals[*principal];
                let fitting = identities.iter().enumerate().find(|(index, identity)| {
                    !used[*index] && msps.satisfies_parsed(identity, principal).is_ok()
                });
                let Some((index, _)) = fitting else { return false };
                used[index] = true;
                true
            }
            Rule::NOutOf { n, rules } => {
                let mut held = 0;
                // All are tried, also when enough have held: what they take is part of the
                // verdict on the rules that follow, and others evaluate the same way.
                for rule in rules {
                    let before = used.clone();
                    if self.holds(rule, msps, identities, used) {
                        held += 1;
                    } else {
                        *used = before;
                    }
                }
                held >= *n
            }
        }
    }
}

impl Rule {
    /// `depth` levels and `left` rules may still come.
    fn parse(
        policy: SignaturePolicy,
        principals: usize,
        depth: usize,
        left: &mut usize,
    ) -> Result<Self, String> {
        *left = left.checked_sub(1).ok_or_else(|| format!("more than {MAX_RULES} rules"))?;
        let depth = depth.checked_sub(1).ok_or_else(|| format!("rules nested more than {MAX_DEPTH} deep"))?;
        match policy.r#type.ok_or("a rule without a type")? {
            Type::SignedBy(index) => usize::try_from(index)
                .ok()
                .filter(|index| *index < principals)
                .map(Self::SignedBy)
                .ok_or_else(|| format!("signed_by names principal {index} of {principals}")),
            Type::NOutOf(rule) => {
                let n = usize::try_from(rule.n)
                    .map_err(|_| format!("n_out_of.n is {}, which is negative", rule.n))?;
                let rules = rule
                    .rules
                    .into_iter()
                    .map(|rule| Self::parse(rule, principals, depth, left))
                    .collect::<Result<_, _>>()?;
                Ok(Self::NOutOf { n, rules })
            }
        }
    }
}

/// Levels of rules within rules; people write two or three.
const MAX_DEPTH: usize = 32;

/// Rules in one policy. A block validation policy has one for each consenter.
const MAX_RULES: usize = 4096;

/// Principals in one policy.
const MAX_PRINCIPALS: usize = 1024;
